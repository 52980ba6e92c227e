"""Secrets. Values come in as arguments; what must be remembered about them without reading them is an annotation."""

import base64
import hashlib
from collections.abc import Mapping

from elink_operator import labels, naming
from elink_operator.desired.inputs import Access, MailLogin, MasterLink, ServerInputs, TenantInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.vault import Vault

TOKEN_SHA256 = f"{naming.GROUP}/token-sha256"
TOKEN_EXPIRES = f"{naming.GROUP}/token-expires"
MASTER_URL = f"{naming.GROUP}/url"
LINK_HASH = f"{naming.GROUP}/link-hash"
TENANT_UID = f"{naming.GROUP}/tenant-uid"
BACKUP_KEY = "repository-key"
STORE_CREDENTIALS = "store-credentials"
STORE_AUTHORITY = "store-ca.crt"
MAIL_AUTHORITY = "ca.crt"
SETUP_PATH = "/setup?token="


def token_sha256(token: str) -> str:
    """What the registry and the annotations know of a random token."""
    return hashlib.sha256(token.encode()).hexdigest()


def value_hash(value: str) -> str:
    """How the cache remembers a value of a Secret (`dataHashes`): a change is seen without reading it."""
    return hashlib.sha256(base64.b64encode(value.encode())).hexdigest()


def build_postgres_secret(server: str, namespace: str, values: Mapping[str, str]) -> Obj:
    """`postgres-credentials`. An External server's operator log-in is not in it: no tenant pod needs that."""
    return _opaque(naming.POSTGRES_SECRET, namespace, labels.server_labels(server), values)


def build_mail_login(inputs: ServerInputs, login: MailLogin) -> Obj:
    """`mail-login`: the password of the relay for this server's pods; the name stands in their environment."""
    values = {"password": login.password}
    return _opaque(naming.MAIL_LOGIN_SECRET, inputs.namespace, labels.server_labels(inputs.name), values)


def build_mail_authority(inputs: ServerInputs) -> Obj:
    """`mail-ca`: what this server's pods trust at the relay."""
    values = {MAIL_AUTHORITY: inputs.mail_authority}
    return _opaque(naming.MAIL_AUTHORITY_SECRET, inputs.namespace, labels.server_labels(inputs.name), values)


def build_tenant_secret(inputs: TenantInputs) -> Obj:
    """`tenant-<id>`: the tenant's own log-in to its own database; used by the backup Job only."""
    endpoint = inputs.access.endpoint
    values = {
        "host": endpoint.host,
        "port": str(endpoint.port),
        "database": naming.tenant_database(inputs.name),
        "username": naming.tenant_role(inputs.name),
        "password": inputs.access.tenant_password(inputs.tenant.metadata.uid),
    }
    return _of_tenant(inputs, naming.tenant_secret(inputs.name), values)


def build_server_backup_login(inputs: ServerInputs, access: Access) -> Obj:
    """`server-backup`: the log-in that reads the registry for the server's own backups; used by their Jobs only."""
    values = {
        "host": access.endpoint.host,
        "port": str(access.endpoint.port),
        "database": naming.REGISTRY_DATABASE,
        "username": naming.BACKUP_ROLE,
        "password": access.backup_password,
    }
    return _opaque(naming.SERVER_BACKUP, inputs.namespace, labels.server_labels(inputs.name), values)


def build_backup_key(vault: Vault, key: str, *, copy: bool) -> Obj:
    """The key of backups, or its copy beside the server. Immutable: another key would lose them all."""
    name, namespace = (vault.place.key, vault.namespace) if copy else (vault.key, vault.settings.namespace)
    return {**_opaque(name, namespace, vault.marks, {BACKUP_KEY: key}), "immutable": True}


def build_borrowed_secret(
    name: str, namespace: str, secret_labels: Mapping[str, str], values: Mapping[str, str]
) -> Obj:
    """What a restore on another server needs to read the source's store; removed when it ends."""
    return _opaque(name, namespace, secret_labels, values)


def build_store_secret(vault: Vault, access: str, password: str, authority: str) -> Obj:
    """The log-in to the object store, as a file of the AWS tools; used by the Jobs of these backups only.

    `authority`: the store's certificate authority (PEM), empty for a public one.
    """
    values = {
        STORE_CREDENTIALS: f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {password}\n",
        **({STORE_AUTHORITY: authority} if authority else {}),
    }
    return _opaque(vault.place.login, vault.namespace, vault.marks, values)


def build_master_secret(inputs: TenantInputs, link: MasterLink) -> Obj:
    """`elink-<TENANT>-master` in the management namespace: where the platform team reads the first log-in."""
    link_url = f"{inputs.url}{SETUP_PATH}{link.token}"
    values = {"email": inputs.tenant.spec.master_account.email, "setup-url": link_url}
    made = _of_tenant(inputs, naming.master_secret(inputs.name), values, inputs.settings.namespace)
    made["metadata"]["annotations"] = {
        TOKEN_SHA256: token_sha256(link.token),
        TOKEN_EXPIRES: link.expires_at,
        MASTER_URL: inputs.url,
        LINK_HASH: value_hash(link_url),
        TENANT_UID: inputs.tenant.metadata.uid,
    }
    return made


def _of_tenant(inputs: TenantInputs, name: str, values: Mapping[str, str], namespace: str | None = None) -> Obj:
    """A Secret of one tenant; in its server's namespace unless another is named."""
    tenant_labels = labels.tenant_labels(inputs.server, inputs.name)
    return _opaque(name, namespace or inputs.namespace, tenant_labels, values)


def _opaque(name: str, namespace: str, secret_labels: Mapping[str, str], values: Mapping[str, str]) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(secret_labels)},
        "type": "Opaque",
        "stringData": dict(values),
    }
