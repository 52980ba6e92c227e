"""The cache: what is news, what is refused, what is found by label."""

from typing import Any

from elink_operator import labels
from elink_operator.cluster.kinds import SECRET, TENANT, Obj
from elink_operator.cluster.store import Store

from tests.operator.cluster.conftest import CONFIG_MAP


def obj(name: str = "a", version: int = 1, *, uid: str = "u1", generation: int = 1, **fields: Any) -> Obj:
    metadata: Obj = {"name": name, "uid": uid, "resourceVersion": str(version), "generation": generation}
    metadata |= fields.pop("metadata", {})
    return {"metadata": metadata, **fields}


def tenant_marks(tenant: str, server: str) -> Obj:
    return {"labels": {labels.TENANT: tenant, labels.SERVER: server}, "namespace": "ns"}


def test_what_comes_back_is_a_copy_with_its_kind() -> None:
    store = Store()
    store.observed(CONFIG_MAP, obj(metadata={"namespace": "ns"}, data={"k": "v"}))
    first = store.get(CONFIG_MAP, "ns", "a")
    assert first is not None
    assert (first["apiVersion"], first["kind"]) == ("v1", "ConfigMap")
    first["data"]["k"] = "changed by a careless caller"
    assert store.get(CONFIG_MAP, "ns", "a") == {**first, "data": {"k": "v"}}


def test_older_versions_are_refused() -> None:
    store = Store()
    assert store.observed(TENANT, obj(version=5, spec=5))
    store.observed(TENANT, obj(version=4, spec=4))
    cached = store.get(TENANT, None, "a")
    assert cached is not None
    assert cached["spec"] == 5


def test_the_same_version_again_is_no_news() -> None:
    store = Store()
    assert store.observed(TENANT, obj(version=5))
    assert not store.observed(TENANT, obj(version=5))


def test_the_echo_of_an_own_write_is_no_news() -> None:
    store = Store()
    store.observed(CONFIG_MAP, obj(version=1))
    store.wrote(CONFIG_MAP, obj(version=2))
    assert not store.observed(CONFIG_MAP, obj(version=2))


def test_a_foreign_change_that_an_own_write_overtook_is_still_news() -> None:
    """The user changed at 2, we wrote at 3 without having seen it; the event of 2 comes last."""
    store = Store()
    store.observed(TENANT, obj(version=1))
    store.wrote(TENANT, obj(version=3))
    assert store.observed(TENANT, obj(version=2))
    cached = store.entry(TENANT, None, "a")
    assert cached is not None
    assert cached.version == 3


def test_an_own_write_that_shows_a_new_spec_is_reported() -> None:
    store = Store()
    store.observed(TENANT, obj(version=1, generation=1))
    assert not store.wrote(TENANT, obj(version=2, generation=1)), "a status write"
    assert store.wrote(TENANT, obj(version=4, generation=2)), "a user changed the spec before our write"
    assert store.wrote(TENANT, obj("new", version=5)), "made by ourselves: somebody must reconcile it"
    assert not store.wrote(CONFIG_MAP, obj(version=6, generation=9)), "owned objects are what we made them"


def test_the_dead_do_not_rise() -> None:
    store = Store()
    store.observed(TENANT, obj(version=3))
    assert store.deleted(TENANT, obj(version=4))
    assert not store.observed(TENANT, obj(version=3))
    store.wrote(TENANT, obj(version=4))
    assert store.get(TENANT, None, "a") is None
    assert store.observed(TENANT, obj(version=5, uid="u2"))


def test_a_late_deletion_does_not_remove_the_successor() -> None:
    store = Store()
    store.observed(TENANT, obj(version=6, uid="u2"))
    assert not store.deleted(TENANT, obj(version=4, uid="u1"))
    assert store.get(TENANT, None, "a") is not None


def test_vanished_finds_what_a_complete_list_lacks_but_not_what_is_newer() -> None:
    store = Store()
    for name, version in (("stays", 1), ("gone", 2), ("newer-than-the-list", 9)):
        store.observed(TENANT, obj(name, version))
    gone = store.vanished(TENANT, {(None, "stays")}, 5)
    assert [entry["metadata"]["name"] for entry in gone] == ["gone"]
    assert sorted(store.names(TENANT)) == ["newer-than-the-list", "stays"]


def test_labels_find_objects_and_follow_changes() -> None:
    store = Store()
    store.observed(CONFIG_MAP, obj(metadata=tenant_marks("t1", "s1")))
    assert [found["metadata"]["name"] for found in store.by_tenant("t1")] == ["a"]
    assert len(store.by_server("s1")) == 1
    store.observed(CONFIG_MAP, obj(version=2, metadata=tenant_marks("t2", "s1")))
    assert store.by_tenant("t1") == []
    assert len(store.by_tenant("t2")) == 1
    store.deleted(CONFIG_MAP, obj(version=3, metadata=tenant_marks("t2", "s1")))
    assert store.by_tenant("t2") == []
    assert store.by_server("s1") == []


def test_no_secret_value_is_kept() -> None:
    store = Store()
    store.observed(SECRET, obj(metadata={"namespace": "ns"}, data={"password": "aHVudGVyMg=="}))
    entry = store.entry(SECRET, "ns", "a")
    assert entry is not None
    assert b"aHVudGVyMg" not in entry.raw
    cached = store.get(SECRET, "ns", "a")
    assert cached is not None
    assert list(cached["dataHashes"]) == ["password"]


def test_views_follow_and_leave_out_what_does_not_parse() -> None:
    store = Store()
    store.observed(TENANT, obj("before", spec=1))
    view = store.view(TENANT, lambda body: int(body["spec"]))
    store.observed(TENANT, obj("after", spec=2))
    store.observed(TENANT, obj("bad", spec="x"))
    assert dict(view) == {"before": 1, "after": 2}
    store.observed(TENANT, obj("after", 2, spec="broken now"))
    store.deleted(TENANT, obj("before", 3))
    assert dict(view) == {}
