"""Encryption between operator and PostgreSQL: offered, demanded, and with the certificate checked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from elink_operator.database import Limits, ServerDb
from elink_operator.database.errors import DatabaseUnavailable
from elink_operator.database.sessions import Sessions

from tests.operator.database.conftest import target
from tests.support.certificates import Authority
from tests.support.postgres import Postgres, running

pytestmark = pytest.mark.postgres
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


async def encrypted(server: ServerDb) -> bool:
    """Whether a connection of the operator's to this server is encrypted."""
    sessions = Sessions(server, Limits(connect_seconds=10))
    try:
        async with sessions.admin() as connection:
            found: bool = await connection.fetchval(ENCRYPTED)
            return found
    finally:
        await sessions.close()


async def switch_on(postgres: Postgres, authority: Authority) -> None:
    """TLS with a certificate for `localhost` of this authority."""
    for source, name in zip(authority.issue("postgres", "localhost"), ("server.crt", "server.key"), strict=True):
        place = postgres.folder / "data" / name
        shutil.copyfile(source, place)
        place.chmod(0o600)
        owner = place.parent.stat()
        shutil.chown(place, owner.st_uid, owner.st_gid)
    admin = await postgres.connect()
    await admin.execute("ALTER SYSTEM SET ssl = on")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()


async def test_encrypted_where_offered_and_only_with_the_right_certificate_where_demanded(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    authority = Authority(ours)
    right, wrong = authority.certificate.read_text(), Authority(other).certificate.read_text()
    with running() as postgres:
        plain = target(postgres, host="localhost")
        assert not await encrypted(plain)
        for mode, pem in (("require", ""), ("require", right), ("verify-full", right)):
            with pytest.raises(DatabaseUnavailable, match="does not offer encryption"):
                await encrypted(target(postgres, host="localhost", sslmode=mode, authority=pem))
        await switch_on(postgres, authority)
        assert await encrypted(plain), "prefer is what an empty mode means"
        assert not await encrypted(target(postgres, host="localhost", sslmode="disable"))
        for mode, pem in (("require", ""), ("require", right), ("verify-ca", right), ("verify-full", right)):
            assert await encrypted(target(postgres, host="localhost", sslmode=mode, authority=pem)), mode
        for mode in ("require", "verify-ca", "verify-full"):
            with pytest.raises(DatabaseUnavailable, match=r"not what ca\.crt vouches for"):
                await encrypted(target(postgres, host="localhost", sslmode=mode, authority=wrong))
        # Another name than the certificate's: the authority alone does not ask for it.
        assert await encrypted(target(postgres, host="127.0.0.1", sslmode="verify-ca", authority=right))
        with pytest.raises(DatabaseUnavailable, match="host name"):
            await encrypted(target(postgres, host="127.0.0.1", sslmode="verify-full", authority=right))
