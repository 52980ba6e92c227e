"""A restore as its Job and the operator make it, with real parts: backup image, app's migration, PostgreSQL, files.

The generation is of an older schema; a neighbour whose name begins like the tenant's must stay as it is.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from elink_app.database.connect import open_connection
from elink_app.database.migrate import alembic_config, newest_revision
from elink_operator import naming
from elink_operator.database import Databases, TenantDb
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.images.test_backup import TENANT_KEY
from tests.support.postgres import Postgres, find_program, running
from tests.support.restic import find_restic
from tests.tenant_app.support import Server, make_settings, new_tenant

pytestmark = pytest.mark.postgres
PROGRAMS = Path(__file__).resolve().parents[2] / "hack/images/backup"
ADDRESSES = 5000
# Before the function that disarms a restored database was there.
OLD_SCHEMA = "0009"
PEOPLE = f"""
INSERT INTO address (name, sort_key, search_text, search_grams)
SELECT '顧客 ' || n, 'k' || n, '顧客 ' || n || chr(10) || chr(9) || chr(92), '{{}}'
FROM generate_series(1, {ADDRESSES}) AS n;
INSERT INTO address_email (address_id, position, email, email_key)
SELECT id, 0, 'a' || id || '@b.example', 'a' || id || '@b.example' FROM address;
INSERT INTO delivery (name, state, frozen_at) VALUES ('月報', 'sending', now()), ('予約', 'scheduled', now());
INSERT INTO outbox_mail (kind, recipient, subject, text_body) VALUES ('invitation', 'x@y.example', '招待', 'link');
"""
CHANGES = """
DELETE FROM address WHERE id % 2 = 0;
UPDATE address SET notes = '後で書いた';
UPDATE delivery SET state = 'done';
"""
FACTS = """
SELECT (SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM address AS t) AS addresses,
       (SELECT count(*) FROM address) AS rows,
       (SELECT md5(string_agg(e::text, '|' ORDER BY e::text)) FROM address_email AS e) AS emails
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of these tests: its template is migrated by the app itself."""
    with running() as server:
        yield server


@dataclass
class Job:
    """The folders and the environment of a restore's pod."""

    root: Path
    server: Server
    tenant: TenantDb

    @property
    def tenants(self) -> Path:
        return self.root / "tenants"

    def run(self, module: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        """A program of the backup image."""
        message = self.root / "message"
        message.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", f"elink_backup.{module}", *arguments],
            env={
                "PATH": f"{Path(find_program('pg_dump')).parent}:{find_restic().parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(PROGRAMS),
                "ELINK_TENANT_ID": self.tenant.directory,
                "ELINK_TENANTS": str(self.tenants),
                "ELINK_SECRET_DIR": str(self.root / "secrets"),
                "ELINK_STORE": str(self.root / "backup"),
                "ELINK_SOURCE": str(self.root / "snapshot"),
                "ELINK_TERMINATION_LOG": str(message),
            },
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert message.exists(), done.stdout + done.stderr
        return done.returncode, json.loads(message.read_text())

    def migrate(self, database: str) -> int:
        """The app's container of the same pod."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ELINK_MIGRATE_DATABASE": database,
            "ELINK_DB_HOST": self.server.settings.db_host,
            "ELINK_DB_PORT": str(self.server.settings.db_port),
            "ELINK_DB_USER": self.tenant.role,
            "ELINK_DB_PASSWORD_FILE": str(self.root / "secrets" / "password"),
        }
        return subprocess.run([sys.executable, "-m", "elink_app", "migrate"], env=environment, check=False).returncode

    async def downgrade(self, revision: str) -> None:
        """The tenant's database as an older version of the app left it."""

        def run(connection: Connection) -> None:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.downgrade(config, revision)

        async def connect(*_args: Any, **_kwargs: Any) -> Any:
            return await open_connection(self.server.settings, self.tenant.database, role=self.tenant.role)

        engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(run)
        await engine.dispose()

    def back_up(self) -> str:
        """A generation of what is there; the pod has the directory mounted as its source."""
        source = self.root / "snapshot" / "files"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(self.tenants / self.tenant.directory, source)
        code, said = self.run("backup", "run")
        assert code == 0, said
        return str(said["made"])

    async def facts(self, database: str) -> dict[str, Any]:
        async with self.server.inside(database) as inside:
            return dict(await inside.fetchrow(FACTS))

    async def sql(self, database: str, statements: str) -> None:
        async with self.server.inside(database) as inside:
            await inside.execute(statements)

    def files(self, folder: str) -> dict[str, bytes]:
        top = self.tenants / folder
        return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


@pytest.fixture
async def job(postgres: Postgres, tmp_path: Path) -> Job:
    server = Server(postgres, make_settings(postgres, tmp_path))
    await server.prepare()
    tenant = new_tenant("aozora")
    await server.ensure(tenant)
    made = Job(tmp_path, server, tenant)
    for name in ("backup", "snapshot/database", "secrets"):
        (tmp_path / name).mkdir(parents=True)
    values = {"host": postgres.host, "port": str(postgres.port), "database": tenant.database,
              "username": tenant.role, "password": tenant.password, "repository-key": TENANT_KEY}  # fmt: skip
    for key, value in values.items():
        (tmp_path / "secrets" / key).write_text(value)
    folder = made.tenants / tenant.directory
    (folder / "画像").mkdir(parents=True)
    for number in range(20):
        (folder / "画像" / f"{number}.bin").write_bytes(bytes([number]) * 5000)
    return made


async def test_back_up_change_restore_switch_and_return(job: Job) -> None:
    tenant, server = job.tenant, job.server
    near = new_tenant("aozora", name=f"{tenant.name}-2", database=f"{tenant.database}_2", role=f"{tenant.role}_2",
                      host=f"{tenant.name}-2.elink.localhost", directory=f"{tenant.directory}-2")  # fmt: skip
    await server.ensure(near)
    (job.tenants / near.directory).mkdir()
    (job.tenants / near.directory / "mine").write_text("x")
    await job.downgrade(OLD_SCHEMA)
    await job.sql(tenant.database, PEOPLE)
    before, files_before = await job.facts(tenant.database), job.files(tenant.directory)
    near_before = await job.facts(near.database)
    generation = job.back_up()
    await job.sql(tenant.database, CHANGES)
    (job.tenants / tenant.directory / "画像" / "0.bin").write_bytes(b"changed")
    (job.tenants / tenant.directory / "new.txt").write_text("new")
    changed, files_changed = await job.facts(tenant.database), job.files(tenant.directory)
    assert before["rows"] == ADDRESSES
    assert changed["rows"] == ADDRESSES // 2

    restore = naming.digest("the restore's uid")
    scratch, kept = naming.scratch_database(tenant.name, restore), naming.kept_database(tenant.name, restore)
    restored = job.tenants / f".restore-{tenant.directory}"
    databases = Databases()
    try:
        census = await databases.census(server.target, "t_nobody")
        await databases.make_scratch(server.target, tenant, scratch)
        restored.mkdir()
        (restored / "left by a killed run").write_text("x")
        into = ("--into-database", scratch, "--into-directory", str(restored))
        code, said = job.run("backup", "restore", "--generation", generation, *into)
        assert (code, said["different"]) == (0, []), said
        assert said["generation"] == generation
        assert said["files"] == 20
        assert said["rows"] > 2 * ADDRESSES
        assert said["bytes"] > 20 * 5000
        code, said = job.run("backup", "disarm", "--database", scratch)
        assert (code, said["result"]) == (1, "error"), "an old schema is migrated first"
        assert await asyncio.to_thread(job.migrate, scratch) == 0
        code, said = job.run("backup", "disarm", "--database", scratch)
        assert (code, said["deliveries"], said["mails"]) == (0, 2, 1), said
        assert await job.facts(tenant.database) == changed, "until the switch nothing of the tenant moves"
        assert job.files(tenant.directory) == files_changed

        await databases.adopt_scratch(server.target, tenant, scratch, kept)
        assert job.run("files", "switch")[0] == 0
        assert await job.facts(tenant.database) == before
        assert job.files(tenant.directory) == files_before
        assert (await databases.snapshot(server.target)).holds(tenant)
        async with server.inside(tenant.database) as inside:
            assert await inside.fetchval("SELECT version_num FROM alembic_version") == newest_revision()
            states = await inside.fetch("SELECT DISTINCT state, state_reason FROM delivery")
            assert [tuple(row) for row in states] == [("paused", "restored")]
            owners = await inside.fetch(
                "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            )
            assert [row[0] for row in owners] == [tenant.role]
            for role in ("elink_app", "elink_template", near.role):
                assert await inside.fetchval("SELECT has_schema_privilege($1, 'public', 'USAGE')", role) is False
        app = await server.postgres.connect(tenant.database, user="elink_app", password=server.postgres.app_password)
        await app.execute(f"SET ROLE {tenant.role}")
        assert await app.fetchval("SELECT count(*) FROM address") == ADDRESSES
        await app.close()

        await databases.return_kept(server.target, tenant, kept, scratch)
        assert job.run("files", "return")[0] == 0
        assert await job.facts(tenant.database) == changed
        assert job.files(tenant.directory) == files_changed
        assert (await databases.snapshot(server.target)).holds(tenant)

        assert await databases.drop_scratch(server.target, tenant, scratch)
        assert job.run("files", "clear", "--restore")[1]["changed"] is True
        assert await job.facts(near.database) == near_before
        assert sorted(path.name for path in job.tenants.iterdir()) == [tenant.directory, near.directory]
        assert census.harmed(await databases.census(server.target, "t_nobody")) == ()
    finally:
        await databases.close()
    assert not any(TENANT_KEY in path.name for path in job.root.rglob("*"))


def test_differences_have_room_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROGRAMS))
    restore = importlib.import_module("elink_backup.restore")
    assert restore.first_of([]) == []
    assert restore.first_of([f"file {n}" for n in range(100)]) == [f"file {n}" for n in range(20)]
    assert restore.first_of(["file " + "画" * 300] * 10) == ["file " + "画" * 300] * 2
    assert restore.first_of(["file " + "画" * 3000]) == ["file " + "画" * 495]


async def test_a_restore_follows_no_link_and_overwrites_nothing(job: Job) -> None:
    await job.sql(job.tenant.database, "INSERT INTO outbox_mail (kind, recipient, subject, text_body) "
                                       "VALUES ('k', 'r', 's', 't')")  # fmt: skip
    job.back_up()
    elsewhere = job.root / "elsewhere"
    elsewhere.mkdir()
    (job.tenants / f".restore-{job.tenant.directory}").symlink_to(elsewhere)
    other = job.tenants / ".restore-another"
    other.mkdir()
    (other / "precious").write_text("x")
    scratch = naming.scratch_database(job.tenant.name, "0a1b2c3d")
    databases = Databases()
    try:
        await databases.make_scratch(job.server.target, job.tenant, scratch)
    finally:
        await databases.close()
    for folder in (job.tenants / f".restore-{job.tenant.directory}", other):
        code, said = job.run("backup", "restore", "--into-database", scratch, "--into-directory", str(folder))
        assert (code, said["result"]) == (1, "error")
    assert list(elsewhere.iterdir()) == []
    assert (other / "precious").read_text() == "x"
    code, said = job.run("backup", "restore", "--into-database", job.tenant.database, "--into-directory",
                         str(job.root / "into"))  # fmt: skip
    assert code == 1
    assert "is not empty" in said["message"]
