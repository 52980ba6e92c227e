"""What programs say in their own words, and the reason that is made of it."""

from __future__ import annotations

import pytest
from elink_backup import errors
from elink_operator import observe
from elink_operator.restore_report import failure


def test_a_postgresql_that_is_newer_than_pg_dump() -> None:
    said = (
        "pg_dump: error: aborting because of server version mismatch\n"
        "pg_dump: detail: server version: 18.4; pg_dump version: 17.6 (Debian 17.6-0+deb13u1)\n"
    )
    reason = errors.database_reason(said)
    assert reason == "DatabaseTooNew"
    why = observe.parse_backup_failure(f'{{"reason": "{reason}"}}')
    assert why is not None
    assert "newer than the pg_dump" in why.message
    assert failure(reason).reason == reason


@pytest.mark.parametrize(
    "said",
    [
        "Fatal: blob <data/18f0e9eb> not found",
        "Unknown blob fe5a94b16a7de4388fa0aeeee848db0fa188a14219701da2d58846f3b49e0d02",
        "error walking snapshot: id d730f000 not found in repository",
        "error walking snapshot: decrypting blob <tree/ea952ef0> from 65e8db6a failed: ciphertext verification failed",
        "LoadRaw(<index/043c63e694>): invalid data returned",
        "Load(<data/0b883b1a38>, 0, 0) failed: The specified key does not exist.",
        "panic: runtime error: invalid memory address or nil pointer dereference",
        "The repository index is damaged and must be repaired. You must run `restic repair index' to correct this.",
    ],
)
def test_damage_as_restic_says_it(said: str) -> None:
    assert errors.store_reason(1, said) == "StoreDamaged"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Stat(<config/>) failed: The specified bucket does not exist", "StoreAway"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "StoreAway"),
        ("write /backup/a: no space left on device", "StoreFull"),
        ("signal: killed", "BackupFailed"),
    ],
)
def test_what_is_no_damage(said: str, reason: str) -> None:
    """A repository is put right only when something is wrong with it."""
    assert errors.store_reason(1, said) == reason
