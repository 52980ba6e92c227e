"""Write suppression: no request when nothing would change, one when anything would."""

from typing import Any

import pytest
from elink_operator import labels
from elink_operator.cluster.apply import Applier, applied_hash, is_subset, quantity
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.kinds import DEPLOYMENT, HPA, OWNED, SECRET, Kind, Obj
from elink_operator.cluster.store import Store
from elink_operator.metrics import Metrics
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.cluster.conftest import CONFIG_MAP, config_map
from tests.support.faultproxy import FaultProxy


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000m", 1), ("1", 1), (2, 2), ("1Gi", 2**30), ("0.5", 0.5), ("500m", 0.5), ("1e3", 1000), ("2k", 2000)],
)
def test_quantities_have_values(text: object, value: float) -> None:
    assert quantity(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1GiB", True, None, "-", "."])
def test_other_things_have_none(text: object) -> None:
    assert quantity(text) is None


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"x": [1, {"y": 2}]}}, {"a": {"x": [1, {"y": 2, "z": 3}], "w": 0}}),
        ({"resources": {"requests": {"cpu": "1000m"}}}, {"resources": {"requests": {"cpu": "1"}}}),
        ({"hard": {"requests.storage": "1024Mi"}}, {"hard": {"requests.storage": "1Gi"}}),
        ({"env": "", "flag": False, "list": [], "map": {}, "none": None}, {}),
        ({"deep": {"flag": False}}, {}),
    ],
)
def test_live_says_everything(desired: Any, live: Any) -> None:
    assert is_subset(desired, live)


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"value": "1000m"}, {"value": "1"}),
        ({"limits": {"cpu": "1001m"}}, {"limits": {"cpu": "1"}}),
        ({"flag": True}, {"flag": False}),
        ({"flag": True}, {"flag": 1}),
        ({"a": {"b": 1}}, {"a": "b"}),
        ({"a": ["x"]}, {"a": "x"}),
        ({"text": ""}, {"text": "drift"}),
        ({"replicas": 0}, {"replicas": 1}),
        ({"rules": []}, {"rules": [{"allow": "all"}]}),
    ],
)
def test_live_differs(desired: Any, live: Any) -> None:
    assert not is_subset(desired, live)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(_json)
def test_everything_is_a_subset_of_itself(value: Any) -> None:
    assert is_subset(value, value)


@given(st.dictionaries(st.text(max_size=2), _json, max_size=4), st.text(min_size=3), _json)
def test_additions_by_others_do_not_matter(desired: dict[str, Any], key: str, value: Any) -> None:
    assert is_subset(desired, {**desired, key: value})


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert applied_hash({"a": 1, "b": {"c": 2, "d": 3}}) == applied_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert applied_hash({"a": [1, 2]}) != applied_hash({"a": [2, 1]})


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def applier(client: Client, store: Store, metrics: Metrics) -> Applier:
    def cache(kind: Kind, obj: Obj) -> None:
        store.wrote(kind, obj)

    client.on_written = cache
    return Applier(client, store, metrics)


def deployment(namespace: str, cpu: str = "1000m") -> Obj:
    marks = {"app": "a"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": namespace, "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": marks},
            "template": {
                "metadata": {"labels": marks},
                "spec": {
                    "enableServiceLinks": False,
                    "hostNetwork": False,
                    "containers": [
                        {
                            "name": "c",
                            "image": "i",
                            "env": [{"name": "EMPTY", "value": ""}, {"name": "N", "value": "1000m"}],
                            "resources": {"requests": {"cpu": cpu, "memory": "1024Mi"}, "limits": {"cpu": "2.0"}},
                            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
        },
    }


@pytest.mark.apiserver
async def test_the_second_apply_sends_nothing(
    applier: Applier, client: Client, store: Store, metrics: Metrics, namespace: str, proxy: FaultProxy
) -> None:
    await applier.apply_if_changed(DEPLOYMENT, deployment(namespace))
    assert len(proxy.writes()) == 1
    live = await applier.apply_if_changed(DEPLOYMENT, deployment(namespace))
    assert len(proxy.writes()) == 1
    assert live["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "1"
    fresh = Applier(client, store, metrics)
    await fresh.apply_if_changed(DEPLOYMENT, deployment(namespace))
    assert len(proxy.writes()) == 1, "a restarted operator must not write either"


@pytest.mark.apiserver
async def test_a_changed_wish_and_a_drift_are_applied(
    applier: Applier, client: Client, store: Store, namespace: str, proxy: FaultProxy
) -> None:
    await applier.apply_if_changed(DEPLOYMENT, deployment(namespace))
    await applier.apply_if_changed(DEPLOYMENT, deployment(namespace, cpu="2"))
    assert len(proxy.writes()) == 2
    client.on_written = lambda kind, obj: None
    store.observed(DEPLOYMENT, await client.patch(DEPLOYMENT, "a", {"spec": {"replicas": 3}}, namespace=namespace))
    repaired = await applier.apply_if_changed(DEPLOYMENT, deployment(namespace, cpu="2"))
    assert repaired["spec"]["replicas"] == 0


@pytest.mark.apiserver
async def test_what_is_no_longer_wished_goes_away(applier: Applier, namespace: str) -> None:
    await applier.apply_if_changed(CONFIG_MAP, config_map(namespace, "a", {"stay": "1", "go": "1"}))
    live = await applier.apply_if_changed(CONFIG_MAP, config_map(namespace, "a", {"stay": "1"}))
    assert live["data"] == {"stay": "1"}


@pytest.mark.apiserver
async def test_a_deleted_object_is_made_again(applier: Applier, client: Client, store: Store, namespace: str) -> None:
    live = await applier.apply_if_changed(CONFIG_MAP, config_map(namespace, "a"))
    await client.delete(CONFIG_MAP, "a", namespace=namespace)
    store.forget(CONFIG_MAP, (namespace, "a"), int(live["metadata"]["resourceVersion"]) + 1)
    again = await applier.apply_if_changed(CONFIG_MAP, config_map(namespace, "a"))
    assert again["metadata"]["uid"] != live["metadata"]["uid"]


@pytest.mark.apiserver
async def test_secrets_are_compared_without_being_kept(
    applier: Applier, client: Client, store: Store, namespace: str, proxy: FaultProxy
) -> None:
    wish: Obj = {**config_map(namespace, "s"), "kind": "Secret", "stringData": {"password": "hunter2"}}
    del wish["data"]
    live = await applier.apply_if_changed(SECRET, wish)
    await applier.apply_if_changed(SECRET, wish)
    assert len(proxy.writes()) == 1
    assert "hunter2" not in str(live)
    assert "aHVudGVyMg" not in str(live)
    stolen = await client.patch(SECRET, "s", {"data": {"password": "AAAA"}}, namespace=namespace)
    store.observed(SECRET, stolen)
    await applier.apply_if_changed(SECRET, wish)
    assert (await client.get(SECRET, "s", namespace))["data"] == {"password": "aHVudGVyMg=="}


@pytest.mark.apiserver
async def test_a_field_that_the_server_rewrites_does_not_loop(
    applier: Applier, client: Client, store: Store, metrics: Metrics, namespace: str, proxy: FaultProxy
) -> None:
    """`averageValue` is a quantity that the comparison does not know: the server makes "1" of "1000m"."""
    wish: Obj = {
        **config_map(namespace, "hpa"),
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
            "maxReplicas": 2,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "requests"},
                        "target": {"type": "AverageValue", "averageValue": "1000m"},
                    },
                }
            ],
        },
    }
    del wish["data"]
    for _ in range(5):
        live = await applier.apply_if_changed(HPA, wish)
    assert live["spec"]["metrics"][0]["pods"]["target"]["averageValue"] == "1"
    assert len(proxy.writes()) == 1
    name = {"kind": "HorizontalPodAutoscaler", "result": "rewritten"}
    assert metrics.registry.get_sample_value("elink_apply_total", name) == 4
    client.on_written = lambda kind, obj: None
    drift = await client.patch(HPA, "hpa", {"spec": {"maxReplicas": 9}}, namespace=namespace)
    store.observed(HPA, drift)
    assert (await applier.apply_if_changed(HPA, wish))["spec"]["maxReplicas"] == 2


def test_owned_kinds_are_distinct() -> None:
    assert len({(kind.group, kind.plural) for kind in OWNED}) == len(OWNED)


async def test_https_without_a_certificate_check_is_refused() -> None:
    with pytest.raises(ValueError, match="would not check"):
        Connection("https://127.0.0.1:1")
