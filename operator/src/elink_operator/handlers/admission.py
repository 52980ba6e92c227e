"""Admission webhooks `/tenant`, `/server`, `/restore`, `/scale`: what schema and CEL cannot judge alone.

The chart's ValidatingWebhookConfiguration calls them with failurePolicy Ignore and a short timeout; the reconciler
repeats the same rules, so a webhook that is down delays a refusal but never loses it (docs/adr/0003).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, Self, TypeVar

import kopf

from elink_operator import naming
from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
from elink_operator.api.admission import (
    World,
    validate_delete_server,
    validate_delete_tenant,
    validate_server,
    validate_tenant,
)
from elink_operator.api.admission_restore import validate_restore
from elink_operator.api.admission_size import validate_scale, validate_size
from elink_operator.settings import Settings

logger = logging.getLogger(__name__)

OPERATIONS: Final = ("CREATE", "UPDATE", "DELETE")
CHANGES: Final[tuple[Literal["UPDATE"], ...]] = ("UPDATE",)
_ACCOUNT: Final = "elink-operator"

Body = Mapping[str, Any]
Resource = TypeVar("Resource", ElinkTenant, ElinkServer, ElinkRestore)


class AdmissionMemo(Protocol):
    """What the operator's memo must offer."""

    @property
    def world(self) -> World:
        """The newest state of all tenants, servers and restores that this replica has seen."""
        ...

    @property
    def settings(self) -> Settings:
        """The operator's settings."""
        ...


@kopf.on.validate(naming.GROUP, naming.VERSION, "elinktenants", id="tenant", operations=OPERATIONS)
async def check_tenant(*, memo: AdmissionMemo, **kwargs: Any) -> None:
    """Refuse a tenant's creation, change or deletion with sentences that say what to do next."""
    review = _Review.of(kwargs)
    if review.deletion:
        _answer(lambda: validate_delete_tenant(ElinkTenant.parse(review.old)))
    elif review.changed:
        _answer(lambda: validate_tenant(*_both(ElinkTenant, review), memo.world))


@kopf.on.validate(naming.GROUP, naming.VERSION, "elinkservers", id="server", operations=OPERATIONS)
async def check_server(*, memo: AdmissionMemo, **kwargs: Any) -> None:
    """Refuse a server's creation, change or deletion with sentences that say what to do next."""
    review = _Review.of(kwargs)
    if review.deletion:
        _answer(lambda: validate_delete_server(ElinkServer.parse(review.old), memo.world))
    elif review.changed:
        own = kwargs["userinfo"].get("username") == f"system:serviceaccount:{memo.settings.namespace}:{_ACCOUNT}"
        _answer(lambda: _server(*_both(ElinkServer, review), memo.world, own=own))


@kopf.on.validate(naming.GROUP, naming.VERSION, "elinkservers", id="scale", subresource="scale", operations=CHANGES)
async def check_scale(*, memo: AdmissionMemo, name: str, **kwargs: Any) -> None:
    """Refuse a number of pods that would be put back."""
    review = _Review.of(kwargs)
    if review.changed:
        _answer(lambda: validate_scale(name, int((review.new.get("spec") or {}).get("replicas", 0)), memo.world))


@kopf.on.validate(naming.GROUP, naming.VERSION, "elinkrestores", id="restore", operations=("CREATE", "UPDATE"))
async def check_restore(*, memo: AdmissionMemo, **kwargs: Any) -> None:
    """Refuse a restore's creation or change with sentences that say what to do next."""
    review = _Review.of(kwargs)
    if review.changed:
        _answer(lambda: validate_restore(*_both(ElinkRestore, review), memo.world))


@dataclass(frozen=True)
class _Review:
    """What kopf passes of an AdmissionReview; a missing object is empty."""

    operation: str
    old: Body
    new: Body

    @classmethod
    def of(cls, kwargs: Mapping[str, Any]) -> Self:
        return cls(kwargs["operation"], kwargs["old"] or {}, kwargs["new"] or {})

    @property
    def deletion(self) -> bool:
        """A first DELETE; a second one changes nothing, the finalizer decides."""
        return self.operation == "DELETE" and "deletionTimestamp" not in self.old.get("metadata", {})

    @property
    def changed(self) -> bool:
        """Finalizers, labels and annotations must go through whatever else is wrong with the object."""
        return self.operation != "DELETE" and self.old.get("spec") != self.new.get("spec")


def _server(new: ElinkServer, old: ElinkServer | None, world: World, *, own: bool) -> list[str]:
    # The operator's own write may be newer than the tenant that this replica has seen.
    return [*validate_server(new, old, world), *(() if own else validate_size(new, old, world))]


def _both(model: type[Resource], review: _Review) -> tuple[Resource, Resource | None]:
    return model.parse(review.new), model.parse(review.old) if review.old else None


def _answer(validate: Callable[[], list[str]]) -> None:
    try:
        refusals = validate()
    except ValueError:
        # The API server's schema is newer than this operator, or older: its verdict stands, the reconciler reports.
        logger.warning("admission: an object does not parse and was left to the API server's schema", exc_info=True)
        return
    if refusals:
        raise kopf.AdmissionError("; ".join(refusals) + ".", code=403)
