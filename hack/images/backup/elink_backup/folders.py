"""Names of a tenant's folders beside its directory. A tenant's ID begins with a letter, so none of them is one."""

from __future__ import annotations


def restore_name(tenant: str) -> str:
    """What a restore fills."""
    return f".restore-{tenant}"


def kept_name(tenant: str) -> str:
    """The directory that a restore has taken out of use."""
    return f".kept-{tenant}"


def gone_name(tenant: str) -> str:
    """What is being removed: a half-removed folder bears no other name, so that it never comes back."""
    return f".gone-{tenant}"
