"""What a job is told by its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_TAG = re.compile(r"[^A-Za-z0-9._-]")
ID = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""Of a tenant; its ID is the name, or a shorter text made of it."""
KEY = "repository-key"
SERVER = ".server"
"""Stands where a tenant's ID stands else, for what belongs to the server itself: no ID begins with a dot."""
_LATEST = 24 * 3600
"""Seconds after its due time in which a Job of the schedule may still run: six to start, six per try, three tries."""
_SKEW = 30
"""Seconds by which a node's clock may be behind that of the controller that makes the Jobs of the schedule."""


@dataclass(frozen=True)
class Job:
    """One tenant (or the server itself: `SERVER`), its store, and where its data is seen."""

    tenant: str
    secrets: Path
    store: Path
    source: Path
    """Holds `files` (the tenant's directory, read-only) and `database` (scratch for the dump)."""
    keep: int = 7
    uid: str = ""
    server: str = ""
    revision: str = ""
    name: str = ""
    """The Kubernetes Job's name."""
    patience: float = 600
    """Seconds to wait for another job on the same repository: the nightly one and one made by hand may meet."""
    stall: float = 600
    """Seconds in which a command on the store must move something."""
    bucket: str = ""
    """`https://HOST[:PORT]/BUCKET` of the tenant's own bucket; empty: the store is the folder `store`."""
    region: str = "us-east-1"
    safety: bool = False
    """A restore has this backup made of what it is about to replace."""
    spare: str = ""
    """Name of the generation that is then restored: this backup does not displace it."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Job:
        """Read the ELINK_ variables. KeyError names a missing one, ValueError a wrong one."""
        tenant = environ["ELINK_TENANT_ID"]
        if not ID.fullmatch(tenant):
            raise ValueError("ELINK_TENANT_ID is not the ID of a tenant")
        return cls._read(environ, tenant, environ.get("ELINK_TENANT_UID", ""))

    @classmethod
    def of_server(cls, environ: Mapping[str, str]) -> Job:
        """The server's own data. KeyError names a missing variable, ValueError a wrong one."""
        return cls._read(environ, SERVER, environ["ELINK_SERVER_UID"])

    @classmethod
    def _read(cls, environ: Mapping[str, str], tenant: str, uid: str) -> Job:
        return cls(
            tenant,
            Path(environ.get("ELINK_SECRET_DIR", "/run/secrets/elink")),
            Path(environ.get("ELINK_STORE", "/backup")),
            Path(environ.get("ELINK_SOURCE", "/snapshot")),
            int(environ.get("ELINK_GENERATIONS", cls.keep)),
            uid,
            environ.get("ELINK_SERVER", ""),
            environ.get("ELINK_REVISION", ""),
            environ.get("ELINK_JOB", ""),
            float(environ.get("ELINK_PATIENCE", cls.patience)),
            float(environ.get("ELINK_STALL", cls.stall)),
            environ.get("ELINK_BUCKET", "").rstrip("/"),
            environ.get("ELINK_BUCKET_REGION", cls.region),
            environ.get("ELINK_SAFETY", "") == "true",
            environ.get("ELINK_SPARE", ""),
        )

    def kind(self, moment: datetime) -> str:
        """`daily` for the schedule's own jobs, `extra` for one made by hand; each kind keeps its own generations.

        A CronJob names its Jobs after the minute (since 1970) for which they were due. Its annotation is on the Job
        only, where a pod cannot read it; a name made by hand does not hit a minute of the last hours by chance.
        """
        if not self.name:
            return "daily"
        schedule = "server-backup" if self.tenant == SERVER else f"backup-{self.tenant}"
        due = re.fullmatch(rf"{re.escape(schedule)}-(\d{{1,12}})", self.name)
        late = moment.timestamp() - int(due[1]) * 60 if due else _LATEST
        return "daily" if -_SKEW <= late < _LATEST else "extra"

    def tags(self, generation: str, moment: datetime) -> dict[str, str]:
        """What a snapshot that begins at `moment` says about itself."""
        facts = {
            "generation": generation,
            "tenant": self.tenant,
            "uid": self.uid,
            "server": self.server,
            "revision": self.revision,
            "kind": self.kind(moment),
            **({"safety": "yes"} if self.safety else {}),
        }
        return {key: _TAG.sub("_", value) for key, value in facts.items()}

    def secret(self, key: str) -> str:
        """One value of the tenant's Secret."""
        return (self.secrets / key).read_text(encoding="utf-8").strip()
