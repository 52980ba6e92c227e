"""A repository that lost some of what it held: a new generation is made all the same, and the damaged one is named."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elink_backup.job import Job
from elink_backup.mending import find_lost, share_of
from elink_backup.report import now
from elink_backup.repository import Repository

from tests.images.test_backup import Bench, bring_back, days, empty_database, make_bench, named
from tests.support.postgres import Postgres

pytestmark = pytest.mark.postgres


@pytest.fixture
def bench(postgres: Postgres, tmp_path: Path) -> Bench:
    return make_bench(postgres, tmp_path)


def packs(bench: Bench) -> set[Path]:
    return {path for path in (bench.store / "repository" / "data").rglob("*") if path.is_file()}


def rot(path: Path, *places: int) -> None:
    """Change one byte in each of these places, or every 50th one."""
    content = bytearray(path.read_bytes())
    for place in places or range(30, len(content), 50):
        content[place] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size // 2)


def before_restic(bench: Bench, called: str, commands: str) -> str:
    """A PATH on which a program runs `commands` of the shell, and then restic, when its words are `called` so."""
    programs = bench.root / "programs"
    programs.mkdir()
    (programs / "restic").write_text(
        f"""#!/bin/sh
export PATH={shlex.quote(bench.environ["PATH"])}
case " $* " in {called}
    {commands}
esac
exec restic "$@"
"""
    )
    (programs / "restic").chmod(0o700)
    return f"{programs}:{bench.environ['PATH']}"


def two_days(bench: Bench) -> Path:
    """Generations of two days; the folder `lone` in the test's own holds links to what only the first one uses."""
    (bench.files / "big").write_bytes(os.urandom(1 << 20))
    days(bench, 1, 1)
    first = packs(bench)
    [snapshot] = (bench.store / "repository" / "snapshots").iterdir()
    lone = bench.root / "lone"
    lone.mkdir()
    (lone / "snapshot").symlink_to(snapshot)
    for pack in first:
        (lone / ("data" if pack.stat().st_size > 1 << 20 else "tree")).symlink_to(pack)
    (bench.files / "big").write_bytes(os.urandom(1 << 20))
    bench.restic("backup", "--quiet", "--force", "--tag",
                 "complete,generation=20260102T000000Z,tenant=aozora,kind=daily", str(bench.files))  # fmt: skip
    return lone


def place_of(bench: Bench, blob: str) -> tuple[Path, int, int]:
    """The pack that holds a blob, where it begins there, and its length."""
    for index in (bench.store / "repository" / "index").iterdir():
        for pack in json.loads(bench.restic("cat", "index", index.name))["packs"]:
            for found in pack["blobs"]:
                if found["id"] == blob:
                    [path] = (path for path in packs(bench) if path.name == pack["id"])
                    return path, found["offset"], found["length"]
    raise AssertionError(f"no blob {blob}")


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a pack is gone": lambda lone: (lone / "data").resolve().unlink(),
    "a pack is cut short": lambda lone: shorten((lone / "data").resolve()),
    "a folder's list is rotten": lambda lone: rot((lone / "tree").resolve()),
    "a snapshot is rotten": lambda lone: rot((lone / "snapshot").resolve()),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_old_generation_keeps_no_new_one_away(bench: Bench, postgres: Postgres, what: str) -> None:
    lone = two_days(bench)
    (lone / "snapshot").resolve().chmod(0o600)
    DAMAGE[what](lone)
    code, said = bench.run("backup")
    assert (code, said["generations"]) == (0, 2), said
    [damaged] = said["damaged"]
    assert damaged == named(1, 1)[0] or "snapshot" in what, "of which one it was nobody can say then"
    with empty_database(bench, postgres) as database:
        assert bring_back(bench, database)[1]["generation"] == said["made"]
    if "snapshot" not in what:
        shutil.rmtree(bench.root / "back")
        with empty_database(bench, postgres, "bad_") as database:
            code, back = bring_back(bench, database, "--generation", damaged)
            assert (code, back["reason"]) == (1, "StoreDamaged"), back
            assert back["others"] == [said["made"], *named(2, 2)]
    code, last = bench.run("backup", ELINK_GENERATIONS="1")
    assert (code, last["generations"], last["damaged"]) == (0, 1, []), "a newer one is there, so its turn is over"
    bench.restic("check", "--read-data")


def lone_packs(bench: Bench, tonight: str) -> dict[str, dict[str, Path]]:
    """Old generations and the pack that each needs alone, by the share of the store to which that belongs: some are
    of the share `tonight`, and some of others.
    """
    found: dict[str, dict[str, Path]] = {}
    for number in range(1000):
        before = packs(bench)
        (bench.files / "big").write_bytes(os.urandom(1 << 17))
        name = f"20260102T{number:06}Z"
        tags = f"complete,generation={name},tenant=aozora,kind=extra"
        bench.restic("backup", "--quiet", "--tag", tags, str(bench.files))
        [data] = (pack for pack in packs(bench) - before if pack.stat().st_size > 1 << 17)
        found.setdefault(f"{int(data.name[:2], 16) % 7 + 1}/7", {})[name] = data
        if tonight in found and len(found) > 1:
            (bench.files / "big").unlink()
            return found
    raise AssertionError(f"restic names packs by their checksum, and none was of the share {tonight}")


def test_rot_that_only_old_generations_have_is_found_within_a_week(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", bench.environ["PATH"])
    store = Repository.of(Job.from_environment(bench.environ))
    days(bench, 1, 1, "extra")  # What all have is in packs of its own.
    store.quicken()
    tonight = share_of(now())
    rotten = lone_packs(bench, tonight)
    everything = {name for found in rotten.values() for name in found}
    for found in rotten.values():
        for pack in found.values():
            rot(pack)
    code, said = bench.run("backup", ELINK_GENERATIONS="1000")
    assert (code, said["generations"]) == (0, len(everything) + 2 - len(said["damaged"])), said
    # It may be past midnight by now.
    assert set(said["damaged"]) in [set(rotten.get(share, ())) for share in (tonight, share_of(now()))]
    for share in rotten:
        lost = find_lost(store, share)
    assert {one.name for one in store.snapshots() if one.id in lost} == everything


def test_what_a_disk_cannot_read_of_an_old_generation_keeps_no_new_one_away(bench: Bench) -> None:
    """A bad sector, which no file system of a test has: restic's words for it come from a program in its place."""
    code, first = bench.run("backup")
    assert code == 0, first
    [oldest] = (one["id"] for one in json.loads(bench.restic("snapshots", "--json")))
    assert bench.run("backup")[0] == 0
    path = before_restic(
        bench,
        f"""*" --read-data-subset="*|*" dump "*" {oldest} "*)""",
        "echo 'Load(<data/0123456789>, 5, 0) failed: read /backup: input/output error' >&2; exit 1",
    )
    code, said = bench.run("backup", PATH=path)
    assert (code, said["generations"], said["damaged"]) == (0, 2, [first["made"]]), said
    code, said = bench.run("backup")
    assert (code, said["generations"], said["damaged"]) == (0, 4, []), "the disk reads it again"


def test_each_day_of_a_week_has_a_share_of_its_own() -> None:
    """A day begins at midnight in Japan."""
    evening = datetime(2026, 11, 30, 14, 59, 59, tzinfo=UTC)
    shares = [share_of(evening + timedelta(days=days)) for days in range(7)]
    assert sorted(shares) == [f"{number}/7" for number in range(1, 8)]
    assert share_of(evening + timedelta(seconds=1)) == shares[1]
    assert share_of(evening - timedelta(hours=23)) == shares[0]


@pytest.mark.parametrize("file", ["index", "index is gone"])
def test_an_index_is_made_again_and_nothing_is_lost(bench: Bench, file: str) -> None:
    two_days(bench)
    [first, *_] = sorted((bench.store / "repository" / "index").iterdir())
    first.unlink() if "gone" in file else rot(first)
    code, said = bench.run("backup")
    assert (code, said["generations"], said["damaged"]) == (0, 3, []), said
    bench.restic("check", "--read-data")


def test_what_is_rotten_and_still_needed_is_written_again(bench: Bench, postgres: Postgres) -> None:
    """Else no backup would succeed any more: restic takes for stored what the index names."""
    (bench.files / "big").write_bytes(os.urandom(1 << 20))
    code, old = bench.run("backup")
    assert code == 0, old
    for pack in packs(bench):
        rot(pack)
    code, said = bench.run("backup", ELINK_JOB="mine")
    assert (code, said["generations"]) == (0, 1), said
    assert said["newest"] > old["newest"]
    assert said["damaged"] == [old["made"]]
    with empty_database(bench, postgres) as database:
        code, back = bring_back(bench, database)
        assert (code, back["generation"], back["different"]) == (0, said["made"], [])
    assert (bench.root / "back" / "big").read_bytes() == (bench.files / "big").read_bytes()


def test_what_a_store_gets_back_counts_again(bench: Bench) -> None:
    """As when a part of a volume was not mounted. Until then nothing that this generation needs is removed."""
    lone = two_days(bench)
    pack = (lone / "data").resolve()
    pack.rename(bench.root / "away")
    assert bench.run("backup", ELINK_JOB="mine")[1]["damaged"] == named(1, 1)
    (bench.root / "away").rename(pack)
    code, said = bench.run("backup", ELINK_JOB="another")
    assert (code, said["generations"], said["damaged"]) == (0, 4, []), said
    bench.restic("check", "--read-data")


def test_the_report_names_damaged_ones_also_after_a_failure(bench: Bench) -> None:
    lone = two_days(bench)
    (lone / "data").resolve().unlink()
    assert bench.run("backup", ELINK_JOB="mine")[0] == 0
    (bench.root / "secrets" / "password").write_text("wrong")
    code, said = bench.run("backup")
    assert (code, said["reason"], said["generations"]) == (1, "DatabaseAway", 2)
    assert said["damaged"] == named(1, 1)
    tags = [snapshot["tags"] for snapshot in json.loads(bench.restic("snapshots", "--json"))]
    assert sum("damaged" in words for words in tags) == 1


def test_what_opens_the_repository_is_there_twice(bench: Bench, postgres: Postgres) -> None:
    """The runbook's way back from a damaged key file and a lost configuration."""
    days(bench, 1, 1)
    code, said = bench.run("backup")
    assert code == 0, said
    repository, spare = bench.store / "repository", bench.store / "spare"
    [key] = (repository / "keys").iterdir()
    assert {path.name for path in spare.iterdir()} == {"config", key.name}, "not the key that restic had made"
    (repository / "config").unlink()
    rot(key)
    code, said = bench.run("backup")
    assert (code, said["reason"]) == (1, "StoreDamaged"), said
    assert "spare" in said["message"]
    shutil.copy(spare / "config", repository / "config")
    code, said = bench.run("backup")
    assert (code, said["reason"]) in ((1, "WrongKey"), (1, "StoreDamaged")), said
    assert (spare / key.name).is_file(), "a backup that fails changes nothing there"
    shutil.copy(spare / key.name, key)
    with empty_database(bench, postgres) as database:
        assert bring_back(bench, database)[0] == 0


def test_a_folder_that_cannot_be_read_does_not_come_back_as_an_empty_one(bench: Bench, postgres: Postgres) -> None:
    """restic's dump passes over it and may end with success."""
    code, said = bench.run("backup")
    assert code == 0, said
    [snapshot] = json.loads(bench.restic("snapshots", "--json"))
    root = json.loads(bench.restic("cat", "tree", snapshot["id"]))
    [files] = (node["subtree"] for node in root["nodes"] if node["name"] == "files")
    pack, place, length = place_of(bench, files)
    rot(pack, place + length // 2)
    with empty_database(bench, postgres) as database:
        code, back = bring_back(bench, database)
    assert (code, back["reason"]) == (1, "StoreDamaged"), back


def test_a_backup_that_removes_what_is_being_read_is_no_damage(bench: Bench, postgres: Postgres) -> None:
    """A drill of the oldest generation, and the night's backup between its look at the store and its reading."""
    two_days(bench)
    night = bench.root / "night"
    backup = shlex.join([sys.executable, "-m", "elink_backup.backup", "run"])
    once = f"[ -e {night} ] || {{ touch {night}; ELINK_TERMINATION_LOG={night} ELINK_GENERATIONS=1 {backup} >&2; }}"
    path = before_restic(bench, '*" dump "*)', once)
    oldest = named(1, 1)[0]
    with empty_database(bench, postgres) as database:
        before = bench.environ["PATH"]
        bench.environ["PATH"] = path
        code, back = bring_back(bench, database, "--generation", oldest)
        bench.environ["PATH"] = before
    assert json.loads(night.read_text())["generations"] == 1, "the backup was made, and pruned"
    assert (code, back["reason"], back["generation"]) == (1, "StillRunning", oldest), back
    shutil.rmtree(bench.root / "back")
    with empty_database(bench, postgres, "again_") as database:
        code, back = bring_back(bench, database, "--generation", oldest)
    assert (code, back["reason"]) == (1, "GenerationMissing"), "the next try says what is true"
