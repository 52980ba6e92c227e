"""What web, worker and migrate share: image, environment and volumes of the tenant app (docs/architecture.md §6)."""

from elink_operator import labels, naming
from elink_operator.desired import pod, secret
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj

SECRETS_MOUNT = "/run/secrets/elink"
CREDENTIALS_HASH = f"{naming.GROUP}/credentials-hash"
MAIL_LOGIN_HASH = f"{naming.GROUP}/mail-login-hash"
_DATABASE_VOLUME = "database"
_MAIL_VOLUME = "mail-login"
_MAIL_MOUNT = "/run/secrets/elink-mail"
_TRUST_VOLUME = "mail-ca"
_TRUST_MOUNT = "/run/secrets/elink-mail-ca"


def app_container(inputs: ServerInputs, name: str, resources: Obj) -> Obj:
    """The container that runs `elink-app <name>`."""
    mail = [{"name": _MAIL_VOLUME, "mountPath": _MAIL_MOUNT, "readOnly": True}] if inputs.mail_login else []
    trust = [{"name": _TRUST_VOLUME, "mountPath": _TRUST_MOUNT, "readOnly": True}] if inputs.mail_authority else []
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
            *mail,
            *trust,
        ],
    }


def app_pod_spec(inputs: ServerInputs, container: Obj) -> Obj:
    """A PodSpec around the container. Of Secrets only the app's own passwords are mounted, and whom it trusts."""
    trusted = inputs.endpoint.trusted.get(naming.POSTGRES_SECRET, ())
    authority = [pod.secret_file(_TRUST_VOLUME, naming.MAIL_AUTHORITY_SECRET, secret.MAIL_AUTHORITY)]
    return {
        **pod.pod_base(inputs.settings, naming.SERVICE_ACCOUNT, inputs.region),
        "containers": [container],
        "volumes": [
            pod.scratch(),
            pod.claim(naming.FILES_VOLUME),
            pod.secret_file(_DATABASE_VOLUME, naming.POSTGRES_SECRET, "app-password", *trusted),
            *([pod.secret_file(_MAIL_VOLUME, naming.MAIL_LOGIN_SECRET, "password")] if inputs.mail_login else []),
            *(authority if inputs.mail_authority else []),
        ],
    }


def _environment(inputs: ServerInputs, role: str) -> dict[str, str]:
    settings = inputs.settings
    bounces = {"ELINK_BOUNCE_DOMAIN": f"{inputs.name}.{settings.bounce_domain}"} if settings.bounce_domain else {}
    pace = settings.mail_domain_per_minute
    domains = {"ELINK_DOMAIN_MAILS_PER_MINUTE": str(pace)} if pace and role == naming.WORKER else {}
    return {
        "ELINK_ROLE": role,
        "ELINK_DB_HOST": inputs.endpoint.host,
        "ELINK_DB_PORT": str(inputs.endpoint.port),
        "ELINK_DB_USER": naming.APP_ROLE,
        "ELINK_DB_PASSWORD_FILE": f"{SECRETS_MOUNT}/app-password",
        **inputs.endpoint.client(SECRETS_MOUNT),
        "ELINK_FILES_DIR": naming.FILES_MOUNT,
        "ELINK_SMTP_HOST": settings.mail_host,
        "ELINK_SMTP_PORT": str(settings.mail_port),
        "ELINK_EXTERNAL_PORT": str(settings.external_port),
        "ELINK_SERVER_NAME": inputs.name,
        "ELINK_VERSION": inputs.version,
        **bounces,
        **domains,
        **_relay(inputs),
    }


def _relay(inputs: ServerInputs) -> dict[str, str]:
    """How the relay wants to be spoken to; nothing for one that wants neither TLS nor a log-in."""
    tls: dict[str, str] = {"ELINK_SMTP_TLS": inputs.settings.mail_tls} if inputs.settings.mail_tls != "off" else {}
    if inputs.mail_authority:
        tls["ELINK_SMTP_CA_FILE"] = f"{_TRUST_MOUNT}/{secret.MAIL_AUTHORITY}"
    if inputs.mail_login is None:
        return tls
    return {
        **tls,
        "ELINK_SMTP_USER": inputs.mail_login.username,
        "ELINK_SMTP_PASSWORD_FILE": f"{_MAIL_MOUNT}/password",
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
        *([settings.mail_domain_per_minute] if settings.mail_domain_per_minute else []),
        *([settings.mail_tls] if settings.mail_tls != "off" else []),
        *([inputs.mail_login.fingerprint] if inputs.mail_login else []),
        # Not which one: the file is read at each connection, so another one needs no new pods.
        *([_TRUST_VOLUME] if inputs.mail_authority else []),
        *([inputs.endpoint.sslmode] if inputs.endpoint.sslmode else []),
    )
    return naming.digest(repr(decided), 16)


def pod_metadata(inputs: ServerInputs, component: str) -> Obj:
    """Metadata of a pod template; new passwords make a new template."""
    annotations = {CREDENTIALS_HASH: inputs.credentials_hash} if inputs.credentials_hash else {}
    if inputs.mail_login is not None:
        annotations[MAIL_LOGIN_HASH] = inputs.mail_login.fingerprint
    return {"labels": component_labels(inputs, component), "annotations": annotations}
