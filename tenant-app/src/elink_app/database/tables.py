"""Imports every module with tables, so that the metadata is whole."""

from __future__ import annotations

from elink_app.accounts import models as _accounts
from elink_app.addresses import models as _addresses
from elink_app.attributes import models as _attributes
from elink_app.audit import models as _audit
from elink_app.clicks import models as _clicks
from elink_app.consent import models as _consent
from elink_app.database.base import Base
from elink_app.deliveries import draft_models as _delivery_drafts
from elink_app.deliveries import models as _deliveries
from elink_app.duplicates import models as _duplicates
from elink_app.jobs import models as _jobs
from elink_app.notices import models as _notices
from elink_app.outbox import models as _outbox
from elink_app.passkeys import models as _passkeys
from elink_app.people import models as _people
from elink_app.roles import models as _roles
from elink_app.security import models as _security
from elink_app.segments import models as _segments
from elink_app.senders import models as _senders
from elink_app.sentforms import models as _sentforms
from elink_app.templates import models as _templates
from elink_app.tokens import models as _tokens
from elink_app.transfer import models as _transfer
from elink_app.utilities import models as _utilities

__all__ = ["metadata"]

metadata = Base.metadata
_MODULES = (
    _accounts,
    _addresses,
    _attributes,
    _audit,
    _clicks,
    _consent,
    _deliveries,
    _delivery_drafts,
    _duplicates,
    _jobs,
    _notices,
    _outbox,
    _passkeys,
    _people,
    _roles,
    _security,
    _segments,
    _senders,
    _sentforms,
    _templates,
    _tokens,
    _transfer,
    _utilities,
)
