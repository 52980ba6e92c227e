"""What can go wrong, each with a reason that the operator puts into the condition BackupHealthy."""

from __future__ import annotations

from typing import Any

BACKUP_FAILED = "BackupFailed"
STORE_FULL = "StoreFull"
STORE_AWAY = "StoreAway"
STORE_READ_ONLY = "StoreReadOnly"
STORE_TOO_SLOW = "StoreTooSlow"
STORE_DAMAGED = "StoreDamaged"
WRONG_KEY = "WrongKey"
WRONG_LOGIN = "WrongLogin"
SCRATCH_FULL = "ScratchFull"
DATABASE_AWAY = "DatabaseAway"
DATABASE_TOO_NEW = "DatabaseTooNew"
FILES_UNREADABLE = "FilesUnreadable"
STILL_RUNNING = "StillRunning"

_NO_REPOSITORY, _LOCKED, _WRONG_KEY = 10, 11, 12
"""Exit codes of restic 0.17 and newer."""

_STORE_SIGNS = (
    (
        STORE_FULL,
        (
            "no space left", "disk quota exceeded", "quotaexceeded", "quota exceeded", "file too large",
            "insufficientstorage", "insufficient storage", "storagefull", "storage full", "no free space",
            "minimum free drive threshold",
        ),
    ),
    (
        WRONG_LOGIN,
        (
            "invalidaccesskeyid", "access key id you provided does not exist", "access key id does not exist",
            "signaturedoesnotmatch", "signature we calculated does not match", "invalidtoken",
        ),
    ),
    (STORE_READ_ONLY, ("read-only file system", "permission denied", "access denied", "accessdenied",
                       "operation not permitted", "method is not allowed")),
    (
        STORE_AWAY,
        (
            "connection refused", "no such host", "i/o timeout", "network is unreachable", "no route to host",
            "stale file handle", "stale nfs", "transport endpoint", "input/output error", "connection reset",
            "dial tcp", "tls handshake", "x509:", "nosuchbucket", "bucket does not exist", "slowdown",
            "serviceunavailable",
        ),
    ),
    (
        STORE_DAMAGED,
        (
            "ciphertext verification failed", "decrypting blob", "nonce is invalid",
            "does not match", "invalid data", "repository contains", "not found in",
            "unable to open config", "unable to load", "unexpected eof", "checksum", "no such file", "damaged",
            "file is too short", "truncated", "too few bytes", "> not found", "invalid data returned",
            "nosuchkey", "key does not exist", "the repository could be damaged", "unknown blob",
            "nil pointer dereference",  # dump of restic 0.18, in a folder whose list cannot be read
        ),
    ),
)  # fmt: skip


class BackupError(Exception):
    """A backup or restore failed; the message says what to do, `reason` names the cause in one word.

    `facts`: what the report says besides.
    """

    def __init__(self, message: str, reason: str = BACKUP_FAILED) -> None:
        super().__init__(message)
        self.reason = reason
        self.facts: dict[str, Any] = {}


def answer_reason(status: int, code: str, *, writing: bool = False) -> str:
    """Why an S3 store refused a look into the tenant's bucket, or a write, from the HTTP status and the error code."""
    reason = store_reason(1, code)
    if status == 403 and code not in ("RequestTimeTooSkewed",):
        return reason if writing and reason == STORE_READ_ONLY else WRONG_LOGIN
    return STORE_AWAY if reason == BACKUP_FAILED else reason


def store_reason(code: int, text: str) -> str:
    """Why restic failed, from its exit code and its words."""
    if code == _WRONG_KEY or "wrong password or no key" in text:
        return WRONG_KEY
    if code == _LOCKED:
        return STILL_RUNNING
    lowered = text.lower()
    for reason, signs in _STORE_SIGNS:
        if any(sign in lowered for sign in signs):
            return reason
    return STORE_AWAY if code == _NO_REPOSITORY else BACKUP_FAILED


def database_reason(text: str) -> str:
    """Why a PostgreSQL client failed. It writes to the scratch folder, so a full disk is that one."""
    lowered = text.lower()
    if "no space left" in lowered:
        return SCRATCH_FULL
    if "server version mismatch" in lowered:
        return DATABASE_TOO_NEW
    away = ("connection to server", "could not connect", "server closed the connection", "could not translate host")
    return DATABASE_AWAY if any(sign in lowered for sign in away) else BACKUP_FAILED
