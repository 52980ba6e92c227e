"""`elink-app web|worker|migrate|audit verify`."""

from __future__ import annotations

import argparse
import sys

import uvloop

from elink_app.audit.command import verify_all
from elink_app.database.migrate import migrate_all
from elink_app.settings import Settings
from elink_app.telemetry.logs import configure_logs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="elink-app", description="The elink tenant application.")
    roles = parser.add_subparsers(dest="role", required=True)
    for role in ("web", "worker", "migrate"):
        roles.add_parser(role)
    audit = roles.add_parser("audit", help="the audit logs of the tenants").add_subparsers(dest="action", required=True)
    verify = audit.add_parser("verify", help="compute every chain again; exit code 1 when one is broken")
    verify.add_argument("--tenant", metavar="NAME", help="this tenant only")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one role; returns the exit code."""
    given = _parser().parse_args(arguments)
    # To the database a check is what a migration is: a short-lived job.
    role = "migrate" if given.role == "audit" else given.role
    settings = Settings(role=role)
    configure_logs(settings.log_level, server=settings.server_name, role=role, version=settings.version)
    if given.role == "audit":
        return uvloop.run(verify_all(settings, given.tenant))
    if role == "migrate":
        return uvloop.run(migrate_all(settings))
    # Imported here: the worker must not load the web application.
    if role == "web":
        from elink_app.process_web import run
    else:
        from elink_app.process_worker import run
    uvloop.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
