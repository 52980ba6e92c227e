"""Names of what belongs to one repository of backups: a tenant's, or a server's own."""

from dataclasses import dataclass

from elink_operator import naming
from elink_operator.settings import Settings


@dataclass(frozen=True)
class Place:
    """Names of what belongs to one repository.

    `key` and `login` (the log-in to an object store) are Secrets in the server's namespace; `bucket` is its place in an
    object store, `folder` on a volume.
    """

    key: str
    login: str
    bucket: str
    folder: str


def place_of_tenant(tenant: str, settings: Settings) -> Place:
    """Of the backups of `tenant`."""
    return Place(
        key=naming.backup_key_copy(tenant),
        login=naming.backup_store_secret(tenant),
        bucket=bucket_of(tenant, settings),
        folder=naming.tenant_backup_folder(tenant),
    )


def place_of_server(server: str, settings: Settings) -> Place:
    """Of the backups of a server's own data, where no tenant's are."""
    return Place(
        key=naming.SERVER_KEY_COPY,
        login=naming.SERVER_STORE_SECRET,
        bucket=naming.server_bucket(settings.backup_s3_bucket_prefix, server),
        folder=naming.SERVER_BACKUP_FOLDER,
    )


def bucket_of(tenant: str, settings: Settings) -> str:
    """The bucket of `tenant`."""
    return naming.backup_bucket(settings.backup_s3_bucket_prefix, tenant)
