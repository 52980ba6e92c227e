"""Reconcilers: gather, build, apply, observe, and write the status once."""

from elink_operator.reconcile.context import Context, Outcome
from elink_operator.reconcile.restore import reconcile_restore
from elink_operator.reconcile.server import reconcile_server
from elink_operator.reconcile.tenant import reconcile_tenant

__all__ = ["Context", "Outcome", "reconcile_restore", "reconcile_server", "reconcile_tenant"]
