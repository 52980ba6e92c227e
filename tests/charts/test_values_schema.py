"""A wrong value is refused when the chart is rendered, not when a pod starts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.charts import helm
from tests.charts.helm import Obj

BAD: dict[str, Obj] = {
    "unknown key": {"basedomain": "x.jp"},
    "unknown key, deeper": {"webhook": {"certmanager": {}}},
    "domain without a dot": {"baseDomain": "localhost"},
    "domain in capitals": {"baseDomain": "Elink.example.jp"},
    "domain that leaves no room for a tenant": {"baseDomain": ".".join(["a" * 63] * 3) + ".jp"},
    "port 0": {"externalPort": 0},
    "port as text": {"externalPort": "8443"},
    "port 65536": {"mail": {"port": 65536}},
    "authority of a relay without TLS": {"mail": {"caSecretName": "mail-ca"}},
    "no region": {"regions": []},
    "region in capitals": {"regions": ["JP"]},
    "tag in the repository": {"image": {"operator": {"repository": "registry.example.jp/elink/operator:1"}}},
    "short digest": {"image": {"postgres": {"digest": "sha256:abc"}}},
    "digest for the app, whose tag is the server's version": {"image": {"tenantApp": {"digest": "sha256:" + "0" * 64}}},
    "tag with a space": {"image": {"backup": {"tag": "a b"}}},
    "pull policy": {"image": {"pullPolicy": "Sometimes"}},
    "pull secret as text": {"imagePullSecrets": ["registry"]},
    "31 days of grace": {"tenants": {"erasureGraceDays": 31}},
    "no backup": {"tenants": {"backupGenerations": 0}},
    "size without unit letters that exist": {"tenants": {"backupsSize": "10GB"}},
    "time zone": {"tenants": {"timeZone": "+09:00"}},
    "unknown kind of store": {"backup": {"store": "Tape"}},
    "S3 without an endpoint": {"backup": {"store": "S3"}},
    "endpoint with a path": {"backup": {"s3": {"endpoint": "https://s3.example.jp/bucket"}}},
    "endpoint with a log-in": {"backup": {"s3": {"endpoint": "https://a:b@s3.example.jp"}}},
    "endpoint without a scheme": {"backup": {"s3": {"endpoint": "s3.example.jp:9000"}}},
    "log-in among the values": {"backup": {"s3": {"secretKey": "x"}}},
    "bucket prefix that leaves no room": {"backup": {"s3": {"bucketPrefix": "a" * 24}}},
    "accounts of an unknown store": {"backup": {"s3": {"accounts": "minio"}}},
    "no replica": {"operator": {"replicas": 0}},
    "log level": {"operator": {"logLevel": "TRACE"}},
    "unknown tuning": {"operator": {"tuning": {"worker": 3}}},
    "tuning as text": {"operator": {"tuning": {"workers": "3"}}},
    "tuning out of range": {"operator": {"tuning": {"workers": 0}}},
    "annotation that is a number": {"operator": {"podAnnotations": {"a": 1}}},
    "priority of the system": {"priorityClass": {"value": 2000000000}},
    "webhook that waits too long": {"webhook": {"timeoutSeconds": 60}},
    "issuer of an unknown kind": {"webhook": {"certManager": {"issuerRef": {"kind": "CA", "name": "x"}}}},
    "address without a mask": {"networkPolicy": {"externalDatabaseCIDRs": ["10.0.0.1"]}},
    "no port of external databases": {"networkPolicy": {"externalDatabasePorts": []}},
    "namespace of databases in capitals": {"networkPolicy": {"externalDatabaseNamespaces": ["Databases"]}},
    "host name as address": {"networkPolicy": {"apiServer": {"cidrs": ["api.example.jp/32"]}}},
    "no address of the API server": {"networkPolicy": {"apiServer": {"cidrs": []}}},
    "monitoring switch": {"monitoring": {"rules": True}},
    "interval": {"monitoring": {"interval": "often"}},
    "probe control without port": {"probe": {"control": "kube-dns.kube-system.svc"}},
    "namespace in capitals": {"gateway": {"namespace": "Gateway"}},
}

GOOD: dict[str, Obj] = {
    "IPv6": {"networkPolicy": {"externalDatabaseCIDRs": ["2001:db8::/32"]}},
    "cores as a number": {"operator": {"resources": {"requests": {"cpu": 1}, "limits": {"cpu": 0.5}}}},
    "registry with a port": {"image": {"operator": {"repository": "registry.example.jp:5000/a/b/operator"}}},
    "digest": {"image": {"operator": {"digest": "sha256:" + "a" * 64}}},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_refused(name: str) -> None:
    with pytest.raises(helm.Refused, match="don't meet the specifications of the schema"):
        helm.template(BAD[name])


@pytest.mark.parametrize("name", GOOD)
def test_unusual_but_right_values_pass(name: str) -> None:
    assert helm.template(GOOD[name])


def schema() -> Obj:
    loaded: Obj = json.loads((helm.CHART / "values.schema.json").read_text())
    return loaded


def test_no_object_of_the_schema_is_open() -> None:
    open_objects = []

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "additionalProperties" not in node:
                open_objects.append(path)
            for key, child in node.items():
                walk(child, f"{path}/{key}")

    walk(schema(), "")
    # Helm writes `global` itself; a toleration is checked by the API server.
    assert set(open_objects) == {"/properties/global", "/properties/operator/properties/tolerations/items"}


def test_every_value_is_in_the_schema_and_every_key_of_the_schema_has_a_default() -> None:
    defaults = yaml.safe_load((helm.CHART / "values.yaml").read_text())
    without_default = {"global", "operator.tuning.*", "webhook.certManager.issuerRef.*"}

    def keys(node: Obj, path: str = "") -> set[str]:
        node = schema()["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node
        found: set[str] = set()
        for key, child in node.get("properties", {}).items():
            found |= keys(child, f"{path}.{key}".lstrip(".")) or {f"{path}.{key}".lstrip(".")}
        return found

    def present(path: str) -> bool:
        node: Any = defaults
        for part in path.split("."):
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True

    def excused(path: str) -> bool:
        return any(path == e or (e.endswith("*") and path.startswith(e[:-1])) for e in without_default)

    missing = {p for p in keys(schema()) if not present(p) and not excused(p) and ".resources." not in p}
    assert missing == set()
