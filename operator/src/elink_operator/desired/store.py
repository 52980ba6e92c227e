"""How a pod reaches one repository of backups: the one place that knows what kind of store it is."""

from dataclasses import dataclass

from elink_operator import naming
from elink_operator.desired import pod, secret
from elink_operator.desired.place import Place, place_of_server, place_of_tenant
from elink_operator.desired.pod import Obj
from elink_operator.settings import Settings


@dataclass(frozen=True)
class StoreAccess:
    """What a pod spec needs to reach one repository.

    `env`: variables of the container. `mounts` and `volumes`: where the store is a volume. `secrets`: Secret of the
    server's namespace → keys that are mounted as files below `app.SECRETS_MOUNT`, the repository's key among them.
    """

    env: dict[str, str]
    mounts: tuple[Obj, ...]
    volumes: tuple[Obj, ...]
    secrets: dict[str, tuple[str, ...]]


def repository_of(tenant: str, settings: Settings) -> StoreAccess:
    """Access to the repository of `tenant` and of nobody else."""
    return _access(settings, place_of_tenant(tenant, settings))


def repository_of_server(server: str, settings: Settings) -> StoreAccess:
    """Access to the repository of the server's own data."""
    return _access(settings, place_of_server(server, settings))


def _access(settings: Settings, place: Place) -> StoreAccess:
    secrets: dict[str, tuple[str, ...]] = {place.key: (secret.BACKUP_KEY,)}
    if on_volumes(settings):
        mount: Obj = {"name": naming.BACKUPS_VOLUME, "mountPath": naming.BACKUP_MOUNT, "subPath": place.folder}
        return StoreAccess(env={}, mounts=(mount,), volumes=(pod.claim(naming.BACKUPS_VOLUME),), secrets=secrets)
    files: tuple[str, ...] = (secret.STORE_CREDENTIALS,)
    if settings.backup_s3_ca_file:
        files += (secret.STORE_AUTHORITY,)
    env = {
        "ELINK_BUCKET": f"{settings.backup_s3_endpoint}/{place.bucket}",
        "ELINK_BUCKET_REGION": settings.backup_s3_region,
    }
    return StoreAccess(env=env, mounts=(), volumes=(), secrets={**secrets, place.login: files})


def on_volumes(settings: Settings) -> bool:
    """Whether each server has a volume for the backups of its tenants."""
    return settings.backup_store == "Volume"


def own_accounts(settings: Settings) -> bool:
    """Whether each tenant has an account of its own in the object store."""
    return settings.backup_s3_accounts == "versitygw"


def reachable_from(settings: Settings, source_server: str, target_server: str) -> bool:
    """Whether pods of `target_server` can reach what tenants of `source_server` have in the store."""
    return not on_volumes(settings) or source_server == target_server
