"""Whose backups: where their key, their log-in and their place in the store are. A tenant's, or a server's own."""

from collections.abc import Mapping
from dataclasses import dataclass

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs, TenantInputs
from elink_operator.settings import Settings


@dataclass(frozen=True)
class Vault:
    """Names of what backups need.

    `key` lies in the management namespace, `key_copy` and `login` (the log-in to an object store) beside the server.
    `seed`: what the log-in's secret is derived from.
    """

    settings: Settings
    namespace: str
    marks: Mapping[str, str]
    key: str
    key_copy: str
    login: str
    bucket: str
    seed: str


def of_tenant(inputs: TenantInputs) -> Vault:
    """Of a tenant, on the server of `inputs`."""
    return Vault(
        inputs.settings,
        inputs.namespace,
        labels.tenant_labels(inputs.server, inputs.name),
        key=naming.backup_key_secret(inputs.name),
        key_copy=naming.backup_key_copy(inputs.name),
        login=naming.backup_store_secret(inputs.name),
        bucket=naming.backup_bucket(inputs.settings.backup_s3_bucket_prefix, inputs.name),
        seed=f"elink backup store {inputs.tenant.metadata.uid}",
    )


def of_server(inputs: ServerInputs) -> Vault:
    """Of a server's own data."""
    return Vault(
        inputs.settings,
        inputs.namespace,
        labels.server_labels(inputs.name),
        key=naming.server_key_secret(inputs.name),
        key_copy=naming.SERVER_KEY_COPY,
        login=naming.SERVER_STORE_SECRET,
        bucket=naming.server_bucket(inputs.settings.backup_s3_bucket_prefix, inputs.name),
        seed=f"elink backup store server {inputs.server.metadata.uid}",
    )
