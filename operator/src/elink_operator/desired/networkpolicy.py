"""Who may talk to whom in a server's namespace: default deny both ways, then one policy per reason."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from elink_operator import labels, naming
from elink_operator.desired.inputs import ServerInputs
from elink_operator.desired.pod import Obj
from elink_operator.desired.store import on_volumes

DATABASE_CLIENTS = (labels.WEB, labels.WORKER, labels.MIGRATE, labels.BACKUP)
STORE_CLIENTS = (labels.BACKUP,)
MAIL_SENDERS = (labels.WEB, labels.WORKER)
OPERATOR_POD = {"app.kubernetes.io/name": "elink-operator"}
ANYWHERE: Final[tuple[Obj, ...]] = (
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"]}},
)
"""Every address of both families but link-local ones and those where clouds keep their metadata service."""


def build_network_policies(inputs: ServerInputs) -> list[Obj]:
    """All policies of one server, in the order of their names."""
    policies = [
        _default_deny(inputs),
        _allow_database(inputs),
        _allow_dns(inputs),
        _allow_gateway(inputs),
        _allow_mail(inputs),
        _allow_metrics(inputs),
    ]
    if not on_volumes(inputs.settings):
        policies.append(_allow_store(inputs))
    if inputs.settings.bounce_domain:
        policies.append(_allow_inbound_mail(inputs))
    if inputs.embedded:
        policies.append(_allow_postgres(inputs))
    return policies


def _policy(inputs: ServerInputs, name: str, spec: Obj) -> Obj:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": inputs.namespace, "labels": labels.server_labels(inputs.name)},
        "spec": spec,
    }


def _components(*names: str) -> Obj:
    if len(names) == 1:
        return {"matchLabels": labels.component_selector(names[0])}
    return {"matchExpressions": [{"key": labels.COMPONENT, "operator": "In", "values": sorted(names)}]}


def _namespace(name: str) -> Obj:
    """The API server sets this label itself: nobody can give a namespace another one's name."""
    return {"matchLabels": {labels.NAMESPACE_NAME: name}}


def _tcp(*ports: int) -> list[Obj]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _ingress(pods: Obj, peers: list[Obj], ports: list[Obj]) -> Obj:
    return {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{"from": peers, "ports": ports}]}


def _egress(pods: Obj, peers: list[Obj], ports: list[Obj]) -> Obj:
    return {"podSelector": pods, "policyTypes": ["Egress"], "egress": [{"to": peers, "ports": ports}]}


def _default_deny(inputs: ServerInputs) -> Obj:
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    return _policy(inputs, naming.DEFAULT_DENY, spec)


def _allow_dns(inputs: ServerInputs) -> Obj:
    peers = [{"namespaceSelector": _namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]
    ports = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    return _policy(inputs, "allow-dns", _egress(_components(*DATABASE_CLIENTS), peers, ports))


def _allow_gateway(inputs: ServerInputs) -> Obj:
    peers = [{"namespaceSelector": _namespace(inputs.settings.gateway_namespace)}]
    return _policy(inputs, "allow-gateway", _ingress(_components(labels.WEB), peers, _tcp(naming.WEB_PORT)))


def _allow_postgres(inputs: ServerInputs) -> Obj:
    peers = [
        {"podSelector": _components(*DATABASE_CLIENTS)},
        {
            "namespaceSelector": _namespace(inputs.settings.namespace),
            "podSelector": {"matchLabels": OPERATOR_POD},
        },
    ]
    spec = _ingress(_components(labels.POSTGRES), peers, _tcp(naming.POSTGRES_PORT))
    return _policy(inputs, "allow-postgres", spec)


def _allow_database(inputs: ServerInputs) -> Obj:
    settings = inputs.settings
    peers = (
        [{"podSelector": _components(labels.POSTGRES)}]
        if inputs.embedded
        else _external_peers(
            inputs.endpoint.host, settings.external_database_cidrs, settings.external_database_namespaces
        )
    )
    spec = _egress(_components(*DATABASE_CLIENTS), peers, _tcp(inputs.endpoint.port))
    return _policy(inputs, "allow-database", spec)


def _allow_store(inputs: ServerInputs) -> Obj:
    """Only backup pods, and only to the object store."""
    store = urlsplit(inputs.settings.backup_s3_endpoint)
    cidrs = inputs.settings.backup_s3_cidrs
    peers = _blocks(cidrs) if cidrs else _external_peers(store.hostname or "")
    port = store.port or (443 if store.scheme == "https" else 80)
    return _policy(inputs, "allow-backup-store", _egress(_components(*STORE_CLIENTS), peers, _tcp(port)))


def _external_peers(host: str, cidrs: Sequence[str] = (), namespaces: Sequence[str] = ()) -> list[Obj]:
    """The narrowest peers that a policy can name: an address, a namespace of this cluster, or what the platform names.

    Policies know no host names. For one outside the cluster they are `cidrs` and `namespaces`, to which the operator
    itself is let out; without any, only the port limits the rule.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        parts = host.lower().split(".")
        if len(parts) >= 3 and parts[2] == "svc":
            return [{"namespaceSelector": _namespace(parts[1])}]
        named = [*_blocks(cidrs), *({"namespaceSelector": _namespace(name)} for name in namespaces)]
        return named or [*ANYWHERE]
    return _blocks([f"{address}/{address.max_prefixlen}"])


def _blocks(cidrs: Iterable[str]) -> list[Obj]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def _allow_mail(inputs: ServerInputs) -> Obj:
    peers = [{"namespaceSelector": _namespace(inputs.settings.mail_namespace)}]
    spec = _egress(_components(*MAIL_SENDERS), peers, _tcp(inputs.settings.mail_port))
    return _policy(inputs, "allow-mail", spec)


def _allow_inbound_mail(inputs: ServerInputs) -> Obj:
    peers = [{"namespaceSelector": _namespace(inputs.settings.mail_namespace)}]
    return _policy(inputs, "allow-inbound-mail", _ingress(_components(labels.WORKER), peers, _tcp(naming.INBOUND_PORT)))


def _allow_metrics(inputs: ServerInputs) -> Obj:
    peers = [{"namespaceSelector": {"matchLabels": {labels.ROLE: labels.ROLE_MONITORING}}}]
    spec = _ingress(_components(labels.WEB, labels.WORKER), peers, _tcp(naming.METRICS_PORT))
    return _policy(inputs, "allow-metrics", spec)
