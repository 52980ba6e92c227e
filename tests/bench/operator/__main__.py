"""`python -m tests.bench.operator`: the operator beside the floor on one machine in one run. Prints Markdown."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from tests.bench.operator import floor, measure
from tests.bench.operator.process import machine, percentile
from tests.bench.operator.world import World, world

_QUIET = 20


async def one_round(world: World, count: int) -> dict[str, float]:
    """One operator burst and one floor burst of `count` tenants, in a fresh world."""
    watcher = measure.Watcher(world)
    watching = asyncio.create_task(watcher.run())
    try:
        quiet = await measure.quiet(world, watcher, _QUIET)
        result = {"quiet_p50_s": percentile(quiet, 0.5), "quiet_p95_s": percentile(quiet, 0.95)}
        names = [f"burst-{i:04d}" for i in range(count)]
        result |= {f"burst_{k}": v for k, v in (await measure.burst(world, watcher, names)).items()}
        result |= {f"rest_{k}": v for k, v in (await measure.rest(world, 60)).items()}
        result |= {f"restart_{k}": v for k, v in (await measure.restart(world, count + _QUIET)).items()}
        template = await measure.template_of(world, "quiet-1")
        # The operator would take the floor's tenants for its own.
        await world.stop_operator()
        floor_names = [f"floor-{i:04d}" for i in range(count)]
        seconds = await floor.run(world.api, world.pg, template, floor_names)
    finally:
        watching.cancel()
    return result | {
        "floor_seconds": seconds,
        "floor_tenants_per_second": count / seconds,
        "rate_to_floor": seconds / result["burst_seconds"],
        "owned_objects": float(len(template.objects)),
    }


async def main(count: int, rounds: int) -> None:
    """Run the rounds, each in a fresh world, and print the medians."""
    results = []
    for number in range(rounds):
        started = time.monotonic()
        async with world() as fresh:
            results.append(await one_round(fresh, count))
        print(f"round {number + 1} of {rounds}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"## Operator, N = {count}, median of {rounds}\n\n{machine()}\n")
    print("| figure | median | all rounds |\n|---|---|---|")
    for key in results[0]:
        values = [r[key] for r in results]
        print(f"| {key} | {statistics.median(values):.3f} | {', '.join(f'{v:.3f}' for v in values)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--tenants", type=int, default=300, help="tenants applied at once (default 300)")
    parser.add_argument("--rounds", type=int, default=3, help="fresh worlds; the median is told (default 3)")
    options = parser.parse_args()
    asyncio.run(main(options.tenants, options.rounds))
