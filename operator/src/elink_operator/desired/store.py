"""How a pod reaches the repository of one tenant's backups: the one place that knows what kind of store it is."""

from dataclasses import dataclass

from elink_operator import naming
from elink_operator.desired import pod, secret
from elink_operator.desired.pod import Obj
from elink_operator.settings import Settings


@dataclass(frozen=True)
class StoreAccess:
    """What a pod spec needs to reach one tenant's repository.

    `env`: variables of the container. `mounts` and `volumes`: where the store is a volume. `secrets`: Secret of the
    server's namespace → keys that are mounted as files below `app.SECRETS_MOUNT`, the repository's key among them.
    """

    env: dict[str, str]
    mounts: tuple[Obj, ...]
    volumes: tuple[Obj, ...]
    secrets: dict[str, tuple[str, ...]]


def repository_of(tenant: str, settings: Settings) -> StoreAccess:
    """Access to the repository of `tenant` and of nobody else."""
    key: dict[str, tuple[str, ...]] = {naming.backup_key_copy(tenant): (secret.BACKUP_KEY,)}
    if not on_volumes(settings):
        login: tuple[str, ...] = (secret.STORE_CREDENTIALS,)
        if settings.backup_s3_ca_file:
            login += (secret.STORE_AUTHORITY,)
        return StoreAccess(
            env={
                "ELINK_BUCKET": f"{settings.backup_s3_endpoint}/{bucket_of(tenant, settings)}",
                "ELINK_BUCKET_REGION": settings.backup_s3_region,
            },
            mounts=(),
            volumes=(),
            secrets={**key, naming.backup_store_secret(tenant): login},
        )
    mount: Obj = {
        "name": naming.BACKUPS_VOLUME,
        "mountPath": naming.BACKUP_MOUNT,
        "subPath": naming.tenant_backup_folder(tenant),
    }
    return StoreAccess(env={}, mounts=(mount,), volumes=(pod.claim(naming.BACKUPS_VOLUME),), secrets=key)


def on_volumes(settings: Settings) -> bool:
    """Whether each server has a volume for the backups of its tenants."""
    return settings.backup_store == "Volume"


def own_accounts(settings: Settings) -> bool:
    """Whether each tenant has an account of its own in the object store."""
    return settings.backup_s3_accounts == "versitygw"


def bucket_of(tenant: str, settings: Settings) -> str:
    """The bucket of `tenant`."""
    return naming.backup_bucket(settings.backup_s3_bucket_prefix, tenant)


def reachable_from(settings: Settings, source_server: str, target_server: str) -> bool:
    """Whether pods of `target_server` can reach what tenants of `source_server` have in the store."""
    return not on_volumes(settings) or source_server == target_server
