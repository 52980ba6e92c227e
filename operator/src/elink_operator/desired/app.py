"""What web, worker and migrate share: image, environment and volumes of the tenant app (docs/architecture.md §6)."""

from elink_operator import labels, naming
from elink_operator.desired import pod
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj

SECRETS_MOUNT = "/run/secrets/elink"
CREDENTIALS_HASH = f"{naming.GROUP}/credentials-hash"
_DATABASE_VOLUME = "database"


def app_container(inputs: ServerInputs, name: str, resources: Obj) -> Obj:
    """The container that runs `elink-app <name>`."""
    return {
        "name": name,
        "image": inputs.settings.app_image_at(inputs.version),
        "imagePullPolicy": inputs.settings.image_pull_policy,
        "command": ["elink-app", name],
        "env": pod.env(_environment(inputs, name)),
        "resources": resources,
        "securityContext": pod.container_security(),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": naming.FILES_VOLUME, "mountPath": naming.FILES_MOUNT},
            {"name": _DATABASE_VOLUME, "mountPath": SECRETS_MOUNT, "readOnly": True},
        ],
    }


def app_pod_spec(inputs: ServerInputs, container: Obj) -> Obj:
    """A PodSpec around the container. Of the Secret only the app's password is mounted."""
    return {
        **pod.pod_base(inputs.settings, naming.SERVICE_ACCOUNT, inputs.region),
        "containers": [container],
        "volumes": [
            pod.scratch(),
            pod.claim(naming.FILES_VOLUME),
            pod.secret_file(_DATABASE_VOLUME, naming.POSTGRES_SECRET, "app-password"),
        ],
    }


def _environment(inputs: ServerInputs, role: str) -> dict[str, str]:
    settings = inputs.settings
    bounces = {"ELINK_BOUNCE_DOMAIN": f"{inputs.name}.{settings.bounce_domain}"} if settings.bounce_domain else {}
    return {
        "ELINK_ROLE": role,
        "ELINK_DB_HOST": inputs.endpoint.host,
        "ELINK_DB_PORT": str(inputs.endpoint.port),
        "ELINK_DB_USER": naming.APP_ROLE,
        "ELINK_DB_PASSWORD_FILE": f"{SECRETS_MOUNT}/app-password",
        "ELINK_FILES_DIR": naming.FILES_MOUNT,
        "ELINK_SMTP_HOST": settings.mail_host,
        "ELINK_SMTP_PORT": str(settings.mail_port),
        "ELINK_EXTERNAL_PORT": str(settings.external_port),
        "ELINK_SERVER_NAME": inputs.name,
        "ELINK_VERSION": inputs.version,
        **bounces,
    }


def component_labels(inputs: ServerInputs, component: str) -> dict[str, str]:
    """Labels of a workload and of its pods."""
    return labels.server_labels(inputs.name, component)


def inputs_hash(inputs: ServerInputs, image: str) -> str:
    """What people decide about a workload's pods: version, image, settings, passwords, address of the database.

    While this stays the same, a pod template that differs comes from another release of the operator only.
    """
    settings = inputs.settings
    decided = (
        image,
        inputs.version,
        inputs.endpoint.host,
        inputs.endpoint.port,
        inputs.credentials_hash,
        inputs.region,
        settings.image_pull_policy,
        settings.image_pull_secret,
        settings.priority_class,
        settings.region_node_label,
        settings.mail_host,
        settings.mail_port,
        settings.external_port,
        inputs.server.metadata.annotations.get(labels.TAKE_UPDATE, ""),
        # Only when set: a setting that did not exist in a release before changes nobody's pods.
        *([settings.bounce_domain] if settings.bounce_domain else []),
    )
    return naming.digest(repr(decided), 16)


def pod_metadata(inputs: ServerInputs, component: str) -> Obj:
    """Metadata of a pod template; new passwords make a new template."""
    annotations = {CREDENTIALS_HASH: inputs.credentials_hash} if inputs.credentials_hash else {}
    return {"labels": component_labels(inputs, component), "annotations": annotations}
