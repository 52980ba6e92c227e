"""The elink resources: pydantic models, the one source of the CRDs, the reference page and validation."""

from elink_operator.api.change import ElinkChange
from elink_operator.api.erasure import ElinkErasure
from elink_operator.api.restore import ElinkRestore
from elink_operator.api.server import ElinkServer
from elink_operator.api.tenant import ElinkTenant

__all__ = ["ElinkChange", "ElinkErasure", "ElinkRestore", "ElinkServer", "ElinkTenant"]
