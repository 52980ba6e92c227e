"""Whose backups: where their key, their log-in and their place in the store are. A tenant's, or a server's own."""

from collections.abc import Mapping
from dataclasses import dataclass

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs, TenantInputs
from elink_operator.desired.place import Place, place_of_server, place_of_tenant
from elink_operator.settings import Settings


@dataclass(frozen=True)
class Vault:
    """What backups need. `key`: the Secret of the management namespace, whose copy is `place.key` beside the server.

    `seed`: what the secret of the log-in to an object store is derived from.
    """

    settings: Settings
    namespace: str
    marks: Mapping[str, str]
    key: str
    place: Place
    seed: str


def of_tenant(inputs: TenantInputs) -> Vault:
    """Of a tenant, on the server of `inputs`."""
    return Vault(
        inputs.settings,
        inputs.namespace,
        labels.tenant_labels(inputs.server, inputs.name),
        key=naming.backup_key_secret(inputs.name),
        place=place_of_tenant(inputs.name, inputs.settings),
        seed=f"elink backup store {inputs.tenant.metadata.uid}",
    )


def of_server(inputs: ServerInputs) -> Vault:
    """Of a server's own data."""
    return Vault(
        inputs.settings,
        inputs.namespace,
        labels.server_labels(inputs.name),
        key=naming.server_key_secret(inputs.name),
        place=place_of_server(inputs.name, inputs.settings),
        seed=f"elink backup store server {inputs.server.metadata.uid}",
    )
