"""What a job is told by its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TAG = re.compile(r"[^A-Za-z0-9._-]")
ID = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
KEY = "repository-key"


@dataclass(frozen=True)
class Job:
    """One tenant, its store, and where its data is seen."""

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
    """The Kubernetes Job's name: the CronJob's own Jobs end with a number, those made by hand are extra."""
    patience: float = 600
    """Seconds to wait for another job on the same repository: the nightly one and one made by hand may meet."""
    longest: float = 3 * 3600
    """Seconds that one command on the store may take."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Job:
        """Read the ELINK_ variables. KeyError names a missing one, ValueError a wrong one."""
        tenant = environ["ELINK_TENANT_ID"]
        if not ID.fullmatch(tenant):
            raise ValueError("ELINK_TENANT_ID is not the ID of a tenant")
        return cls(
            tenant,
            Path(environ.get("ELINK_SECRET_DIR", "/run/secrets/elink")),
            Path(environ.get("ELINK_STORE", "/backup")),
            Path(environ.get("ELINK_SOURCE", "/snapshot")),
            int(environ.get("ELINK_GENERATIONS", cls.keep)),
            environ.get("ELINK_TENANT_UID", ""),
            environ.get("ELINK_SERVER", ""),
            environ.get("ELINK_REVISION", ""),
            environ.get("ELINK_JOB", ""),
            float(environ.get("ELINK_PATIENCE", cls.patience)),
            float(environ.get("ELINK_LONGEST", cls.longest)),
        )

    @property
    def kind(self) -> str:
        """`daily` for the schedule's own jobs, `extra` for one made by hand; each kind keeps its own generations."""
        scheduled = re.fullmatch(rf"backup-{re.escape(self.tenant)}-\d+", self.name)
        return "daily" if scheduled or not self.name else "extra"

    def tags(self, generation: str) -> dict[str, str]:
        """What a snapshot says about itself."""
        facts = {
            "generation": generation,
            "tenant": self.tenant,
            "uid": self.uid,
            "server": self.server,
            "revision": self.revision,
            "kind": self.kind,
        }
        return {key: _TAG.sub("_", value) for key, value in facts.items()}

    def secret(self, key: str) -> str:
        """One value of the tenant's Secret."""
        return (self.secrets / key).read_text(encoding="utf-8").strip()
