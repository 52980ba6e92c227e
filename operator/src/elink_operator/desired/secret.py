"""Secrets. Values come in as arguments; what must be remembered about them without reading them is an annotation."""

import hashlib

from elink_operator import labels, naming
from elink_operator.desired.inputs import MasterLink, PostgresCredentials, ServerInputs, TenantInputs
from elink_operator.desired.pod import Obj

TOKEN_SHA256 = f"{naming.GROUP}/token-sha256"
TOKEN_EXPIRES = f"{naming.GROUP}/token-expires"
SETUP_PATH = "/setup/"


def token_sha256(token: str) -> str:
    """What the registry and the annotations know of a random token."""
    return hashlib.sha256(token.encode()).hexdigest()


def build_postgres_secret(inputs: ServerInputs, credentials: PostgresCredentials) -> Obj:
    """`postgres-credentials`: made once. An External server's own log-in stays in the management namespace."""
    data = {
        "host": inputs.endpoint.host,
        "port": str(inputs.endpoint.port),
        "app-password": credentials.app_password,
    }
    if inputs.embedded:
        data |= {"username": credentials.username, "password": credentials.password}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": naming.POSTGRES_SECRET,
            "namespace": inputs.namespace,
            "labels": labels.server_labels(inputs.name),
        },
        "type": "Opaque",
        "stringData": data,
    }


def build_tenant_secret(inputs: TenantInputs, password: str) -> Obj:
    """`tenant-<id>`: the tenant's own log-in to its own database; used by the backup Job only."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": naming.tenant_secret(inputs.name),
            "namespace": inputs.namespace,
            "labels": labels.tenant_labels(inputs.server, inputs.name),
            "annotations": {TOKEN_SHA256: token_sha256(password)},
        },
        "type": "Opaque",
        "stringData": {
            "host": inputs.endpoint.host,
            "port": str(inputs.endpoint.port),
            "database": naming.tenant_database(inputs.name),
            "username": naming.tenant_role(inputs.name),
            "password": password,
        },
    }


def build_master_secret(inputs: TenantInputs, link: MasterLink) -> Obj:
    """`elink-<TENANT>-master` in the management namespace: where the platform team reads the first log-in."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": naming.master_secret(inputs.name),
            "namespace": inputs.settings.namespace,
            "labels": labels.tenant_labels(inputs.server, inputs.name),
            "annotations": {TOKEN_SHA256: token_sha256(link.token), TOKEN_EXPIRES: link.expires_at},
        },
        "type": "Opaque",
        "stringData": {
            "email": inputs.tenant.spec.master_account.email,
            "setup-url": f"{inputs.url}{SETUP_PATH}{link.token}",
        },
    }
