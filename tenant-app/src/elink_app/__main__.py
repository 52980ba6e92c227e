"""`elink-app web|worker|migrate`."""

from __future__ import annotations

import argparse
import sys

import uvloop

from elink_app.database.migrate import migrate_all
from elink_app.process import run_web, run_worker
from elink_app.settings import Settings
from elink_app.telemetry.logs import configure_logs


def main(arguments: list[str] | None = None) -> int:
    """Run one role; returns the exit code."""
    parser = argparse.ArgumentParser(prog="elink-app", description="The elink tenant application.")
    parser.add_argument("role", choices=("web", "worker", "migrate"))
    role = parser.parse_args(arguments).role
    settings = Settings(role=role)
    configure_logs(settings.log_level, server=settings.server_name, role=role, version=settings.version)
    if role == "migrate":
        return uvloop.run(migrate_all(settings))
    uvloop.run(run_web(settings) if role == "web" else run_worker(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
