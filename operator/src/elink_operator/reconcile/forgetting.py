"""Erased tenants go out of the backups of a server's own data: one Job at a time, for all of them that wait."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from elink_operator import labels, observe
from elink_operator.api import ElinkTenant
from elink_operator.api.admission import is_to_be_erased
from elink_operator.api.tenant import ErasureStep
from elink_operator.cluster.kinds import JOB, Obj
from elink_operator.desired.server_backup import Leaver, build_forget_job, forgotten_by
from elink_operator.reconcile import jobs
from elink_operator.reconcile.erase_case import FILES_STEP, SERVER_BACKUPS_STEP, Case, Evidence, Hold
from elink_operator.reconcile.erase_steps import access_to, job_failed, stop_if_harm_was_found
from elink_operator.reconcile.evidence import forgotten
from elink_operator.reconcile.server_backup import forget_old_versions, place_of

_WHAT: Final = "the tenant is taken out of the backups of the server's own data by a Job"
_SELECTOR: Final = f"{labels.COMPONENT}={labels.ERASE}"
_MOST: Final = 40
"""Tenants of one Job: its report, a line for each, has to fit a termination message (4000 bytes)."""
_GATHER: Final = timedelta(seconds=60)
"""So long a tenant waits for others that are to be erased and have not come so far."""


async def forget_in_server_backups(case: Case) -> Evidence:
    """The tenant's rows and journal lines in the copies of the server's own data, by a Job that has their key.

    The Job takes out every tenant that waits. Its success is the evidence of each of them; who comes while it runs is
    taken by the next one.
    """
    stop_if_harm_was_found(case)
    ctx, server = case.ctx, case.present_server()
    async with ctx.memory.forgetting[server.name]:  # two that look at the same time would make two Jobs
        job = await _job_for(case)
        if job is None:
            leavers = waiting(leaver_of(case), ctx.world.residents(server.name))
            endpoint = (await access_to(case)).endpoint
            wanted = build_forget_job(ctx.settings, server, ctx.world.region(server.spec), endpoint, leavers)
            await ctx.applier.apply_if_changed(JOB, wanted)
            raise Hold(_WHAT, retry_after=5)
    await forget_old_versions(ctx, server.name)
    report = observe.termination_message(await jobs.pods_of(ctx, case.namespace, job["metadata"]["name"]))
    place = forgotten(place_of(ctx, server.name), report, case.tenant.metadata.uid)
    return Evidence(f"{place.removed}; the Job {job['metadata']['name']} looked again and found nothing", (place,))


async def remove_evidence(case: Case) -> None:
    """Remove the Jobs that took the tenant out, unless another tenant's erasure still has to look at them."""
    residents = case.ctx.world.residents(case.present_server().name)
    needed = {t.metadata.uid for t in residents if _steps(t) and not _done(t, SERVER_BACKUPS_STEP)}
    for job in await _jobs(case):
        asked = forgotten_by(job).keys()
        if case.request in asked and not needed & asked:
            await jobs.remove(case.ctx, job)


async def _jobs(case: Case) -> list[Obj]:
    found, _ = await case.ctx.client.list(JOB, namespace=case.namespace, label_selector=_SELECTOR)
    return [job for job in found if forgotten_by(job)]


async def _job_for(case: Case) -> Obj | None:
    """The Job that took this tenant out. None: one has to be made. Raises Hold while one is at work or waited for."""
    ctx, of_all = case.ctx, await _jobs(case)
    mine = [job for job in of_all if case.request in forgotten_by(job)]
    if succeeded := [job for job in mine if observe.job_state(job) == "succeeded"]:
        return succeeded[0]
    if any(observe.job_state(job) == "running" for job in mine):
        raise Hold(_WHAT, retry_after=5)
    if any(observe.job_state(job) == "running" for job in of_all):
        raise Hold(f"{_WHAT}, after the one that runs for others", retry_after=5)
    for job in mine:
        if not jobs.failed_long_ago(job, ctx.clock()):
            raise job_failed(job)
        await jobs.remove(ctx, job)
    if mine:
        raise Hold("an old Job of an erasure is being replaced", retry_after=2)
    if others_are_coming(case.tenant, ctx.world.residents(case.present_server().name), ctx.clock()):
        raise Hold(f"{_WHAT}, together with others that are being erased", retry_after=5)
    return None


def leaver_of(case: Case) -> Leaver:
    """The tenant of an erasure, or of a move away from the server."""
    return Leaver(case.tenant.name, case.tenant.metadata.uid, case.request)


def waiting(first: Leaver, residents: Iterable[ElinkTenant]) -> list[Leaver]:
    """`first`, and who else is to go: its rows and journal lines are gone, so that no new backup has them."""
    others = [
        Leaver(tenant.name, tenant.metadata.uid, tenant.metadata.uid)
        for tenant in residents
        if tenant.metadata.uid != first.uid and _done(tenant, FILES_STEP) and not _done(tenant, SERVER_BACKUPS_STEP)
    ]
    return [first, *others[: _MOST - 1]]


def others_are_coming(tenant: ElinkTenant, residents: Iterable[ElinkTenant], now: datetime) -> bool:
    """Whether others will be where `tenant` is, which is worth a wait that is not over yet. A move waits for nobody."""
    if not tenant.deleting:
        return False
    # Without a time this very run has just come so far.
    since = next((step.at for step in _steps(tenant) if step.name == FILES_STEP and step.done), None) or now
    return now - since <= _GATHER and any(
        is_to_be_erased(other) and not _done(other, FILES_STEP)
        for other in residents
        if other.metadata.uid != tenant.metadata.uid
    )


def _steps(tenant: ElinkTenant) -> tuple[ErasureStep, ...]:
    return tenant.status.erasure.steps if tenant.deleting and tenant.status.erasure is not None else ()


def _done(tenant: ElinkTenant, name: str) -> bool:
    return any(step.name == name and step.done for step in _steps(tenant))
