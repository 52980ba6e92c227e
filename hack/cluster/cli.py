"""The command line: `python3 hack/cluster COMMAND [--name NAME]`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from hack.cluster import backend, binaries, deploy, images
from hack.cluster.config import Cluster, cache_dir, past_proxy
from hack.cluster.imagebuild import show
from hack.cluster.steps import StepError, Steps, locked, write_atomic


def parser() -> argparse.ArgumentParser:
    """The commands and what each does."""
    top = argparse.ArgumentParser(
        prog="python3 hack/cluster",
        description="A cluster for elink: kind when Docker answers, else native (CLUSTER=native|kind|existing).",
    )
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "bring the cluster and its add-ons up"),
        ("images", "build the product's images and load them"),
        ("deploy", "images, charts and examples on a cluster that is up, then a table of what to do next"),
        ("status", "what runs; exit code 0 when all does"),
        ("down", "remove the cluster and prove that nothing is left (an existing one is left as it is)"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--name", default="dev", help="name of the cluster (default: dev)")
    fetch = commands.add_parser(
        "binaries",
        help="only what tests without pods need; prints their folder",
    )
    fetch.add_argument("sources", nargs="*", help=f"others by name: {', '.join(binaries.SOURCES)}, or all")
    return top


def run(options: argparse.Namespace) -> int:
    """Carry out one command."""
    if options.command == "binaries":
        wanted = list(binaries.SOURCES) if options.sources == ["all"] else options.sources or list(binaries.API_ONLY)
        unknown = sorted(set(wanted) - set(binaries.SOURCES))
        if unknown:
            raise StepError(f"unknown: {', '.join(unknown)}")
        print(binaries.ensure(wanted, Steps(cache_dir() / "logs", out=sys.stderr)))
        return 0
    try:
        cluster = Cluster(options.name)
    except ValueError as error:
        raise StepError(str(error)) from error
    os.environ.update(past_proxy(cluster, os.environ))
    steps = Steps(cluster.logs)
    chosen = backend.make(cluster, steps)
    if options.command == "status":
        return chosen.status()
    lock = cache_dir() / "locks" / f"cluster-{cluster.name}"
    with locked(lock, lambda: steps.say(f"Waiting: another command works on cluster '{cluster.name}'")):
        if options.command == "up":
            chosen.up()
            backend.record(cluster, chosen)
        elif options.command == "images":
            names = chosen.images(images.PRODUCT)
            write_atomic(cluster.state / "images.env", images.environment(names))
            show(names)
        elif options.command == "deploy":
            deploy.deploy(cluster, chosen, steps)
        else:
            chosen.down()
    return 0


def _advice(error: Exception) -> str:
    """What to do about what the system refused outside of a step."""
    if isinstance(error, PermissionError):
        return "It belongs to another user, for example root: run the same command as that one (sudo -E)."
    return ""


def main(arguments: Sequence[str]) -> int:
    """Run; a failed step is told in three lines: what, where the log is, what to do."""
    try:
        return run(parser().parse_args(arguments))
    except (StepError, OSError, subprocess.SubprocessError) as caught:
        error = caught if isinstance(caught, StepError) else StepError(str(caught), advice=_advice(caught))
        print(f"\nFailed: {error}", file=sys.stderr)
        if error.log:
            print(f"  Log:   {error.log}", file=sys.stderr)
        print(
            f"  Next:  {error.advice or 'Mend the cause and run the same command again: it goes on where it stopped.'}",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        return 130
