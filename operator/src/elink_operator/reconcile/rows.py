"""Resources as the database package wants them."""

from datetime import datetime

from elink_operator import naming
from elink_operator.api import ElinkServer, ElinkTenant
from elink_operator.api.schema import quantity_value
from elink_operator.api.tenant import State
from elink_operator.database import ServerDb, TenantDb
from elink_operator.desired.inputs import Access, TenantInputs

MAINTENANCE = "Maintenance"
"""The registry's state of a tenant whose data is being replaced."""


def server_row(server: ElinkServer, access: Access) -> ServerDb:
    """The server's PostgreSQL as its administrator reaches it."""
    return ServerDb(
        name=server.name,
        host=access.endpoint.host,
        port=access.endpoint.port,
        user=access.username,
        password=access.password,
        app_password=access.app_password,
        backup_password=access.backup_password,
        sslmode=access.endpoint.sslmode,
        authority=access.endpoint.authority,
    )


def reason_of(tenant: ElinkTenant) -> str:
    """What users of a suspended tenant read; a reason left over from a suspension is nobody's to read."""
    return tenant.spec.state_reason if tenant.spec.state is State.SUSPENDED else ""


def tenant_row(inputs: TenantInputs, *, token_sha256: str, token_expires: datetime | None) -> TenantDb:
    """The tenant's database, role and registry row."""
    tenant = inputs.tenant
    spec = tenant.spec
    return TenantDb(
        name=tenant.name,
        uid=tenant.metadata.uid,
        database=naming.tenant_database(tenant.name),
        role=naming.tenant_role(tenant.name),
        password=inputs.access.tenant_password(tenant.metadata.uid),
        host=inputs.host,
        directory=naming.short_id(tenant.name),
        state=MAINTENANCE if inputs.maintenance else spec.state.value,
        state_reason="" if inputs.maintenance else reason_of(tenant),
        display_name=spec.display_name,
        language=spec.language.value,
        limits={
            "addresses": spec.limits.addresses,
            "mailsPerHour": spec.limits.mails_per_hour,
            "storageBytes": int(quantity_value(spec.limits.storage)),
        },
        contacts=spec.contacts.dump(),
        mail=spec.mail.dump(),
        master_email=spec.master_account.email,
        setup_token_sha256=token_sha256,
        setup_expires_at=token_expires,
    )
