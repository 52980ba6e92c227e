"""Imports every module with tables, so that the metadata is whole."""

from __future__ import annotations

from elink_app.accounts import models as _accounts
from elink_app.addresses import models as _addresses
from elink_app.audit import models as _audit
from elink_app.database.base import Base
from elink_app.outbox import models as _outbox

__all__ = ["metadata"]

metadata = Base.metadata
_MODULES = (_accounts, _addresses, _audit, _outbox)
