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
    mount: Obj = {
        "name": naming.BACKUPS_VOLUME,
        "mountPath": naming.BACKUP_MOUNT,
        "subPath": naming.tenant_backup_folder(tenant),
    }
    return StoreAccess(
        env={},
        mounts=(mount,),
        volumes=(pod.claim(naming.BACKUPS_VOLUME),),
        secrets={naming.backup_key_copy(tenant): (secret.BACKUP_KEY,)},
    )


def reachable_from(settings: Settings, source_server: str, target_server: str) -> bool:
    """Whether a pod on `target_server` can reach the repository of a tenant of `source_server`."""
    return source_server == target_server
