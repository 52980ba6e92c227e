"""Command line: `elink-operator run | probe | erasures verify | changes | rebuild | version`."""

import argparse
import sys
from collections.abc import Sequence

from elink_operator import __version__


def parser() -> argparse.ArgumentParser:
    """The command line. Settings come from environment variables `ELINK_*` (docs/settings.md)."""
    top = argparse.ArgumentParser(
        prog="elink-operator",
        description="Runs elink tenants on Kubernetes. Settings are environment variables ELINK_*.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="watch tenants and servers and make them so (needs a cluster)")
    probe = commands.add_parser("probe", help="serve the isolation probe: GET /check?host=&port=&timeout=")
    probe.add_argument("--host", default="", help="address to listen on (default: all)")
    probe.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    erasures = commands.add_parser("erasures", help="check the records of erasures (kubectl get ee)")
    actions = erasures.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("verify", help="check the chain of hashes; exit code 1 names the first broken record")
    check.add_argument("--file", default="", help="what 'kubectl get ee -o json' printed, '-' for standard input")
    check.add_argument("--head", default="", help="a hash noted earlier, which must occur in the chain")
    rebuild = commands.add_parser("rebuild", help="restore every tenant of a server whose database was lost")
    rebuild.add_argument("server", metavar="SERVER", help="name of the ElinkServer")
    rebuild.add_argument("--at-once", type=int, default=4, metavar="N", help="restores at once (default: %(default)s)")
    rebuild.add_argument("--dry-run", action="store_true", help="say what would be restored, and change nothing")
    changes = commands.add_parser("changes", help="show who changed what of tenants and servers (kubectl get ec)")
    changes.add_argument("--tenant", default="", help="of this tenant only")
    changes.add_argument("--server", default="", help="of this server and of the tenants that lived there")
    changes.add_argument("--since", default="", help="date or time, in Japan when it has no offset")
    changes.add_argument("--format", default="table", choices=("table", "json"), help="default: %(default)s")
    changes.add_argument("--file", default="", help="what 'kubectl get ec -o json' printed, '-' for standard input")
    commands.add_parser("version", help="print the version")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 stopped as asked, 1 failed (restart me), 2 wrong usage."""
    options = parser().parse_args(arguments)
    # Each command imports only what it needs: the probe must stay small.
    if options.command == "version":
        sys.stdout.write(f"{__version__}\n")
        return 0
    if options.command == "erasures":
        from elink_operator.erasures import verify_records

        return verify_records(options.file, options.head)
    if options.command == "rebuild":
        from elink_operator.rebuild import rebuild_server

        return rebuild_server(options.server, at_once=max(1, options.at_once), dry_run=options.dry_run)
    if options.command == "changes":
        from elink_operator.changes import show_changes

        return show_changes(
            tenant=options.tenant,
            server=options.server,
            since=options.since,
            format_=options.format,
            file=options.file,
        )
    from elink_operator import logs

    if options.command == "probe":
        from aiohttp import web

        from elink_operator.isolation_probe import application

        logs.configure()
        web.run_app(application(), host=options.host or None, port=options.port, print=None, access_log=None)
        return 0
    _import_kopf()
    from elink_operator.run import run

    return run()


def _import_kopf() -> None:
    """Import kopf without the `kubernetes` package, of which it only wants the classes to recognise (10 MiB)."""
    sys.modules["kubernetes"] = None  # type: ignore[assignment]
    import kopf  # noqa: F401

    del sys.modules["kubernetes"]


if __name__ == "__main__":
    sys.exit(main())
