"""LIST and WATCH against a server that cuts, forgets and refuses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.netpol import watch
from hack.cluster.netpol.kubeconfig import load
from hack.cluster.netpol.model import Policy
from hack.cluster.netpol.store import KINDS, Store
from hack.cluster.netpol.watch import WATCHED, Watcher
from tests.netpol.builders import app, namespace, pod, policy
from tests.netpol.fakeapi import FakeApi, eventually


@pytest.fixture
def api() -> Iterator[FakeApi]:
    api = FakeApi()
    yield api
    api.close()


@pytest.fixture
def store() -> Iterator[Store]:
    yield Store()
    while started:
        started.pop().stopped.set()


started: list[Watcher] = []


def start(api: FakeApi, store: Store, folder: Path) -> None:
    access = load(api.kubeconfig(folder / "kubeconfig"))
    for kind in WATCHED:
        started.append(Watcher(access, kind, store))
        started[-1].start()


def pods(store: Store) -> dict[str, str]:
    return {p.name: p.labels.get("app", "") for p in store.view()[1].world.pods}


def policies(store: Store) -> dict[str, Policy]:
    return {p.name: p for p in store.view()[1].world.policies}


def version(store: Store, kind: str) -> int:
    return int(store.view()[1].versions.get(kind, "0"))


def test_lists_then_follows(api: FakeApi, store: Store, tmp_path: Path) -> None:
    api.put("pods", pod("one", "10.0.0.1", labels={"app": "x"}))
    api.put("namespaces", namespace("default"))
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    assert pods(store) == {"one": "x"}
    api.put("pods", pod("one", "10.0.0.1", labels={"app": "y"}))
    api.put("pods", pod("two", "10.0.0.2"))
    eventually(lambda: pods(store) == {"one": "y", "two": ""})
    api.delete("pods", "one", "default")
    api.put("networkpolicies", policy("deny", {}))
    eventually(lambda: pods(store) == {"two": ""} and set(policies(store)) == {"deny"})
    assert api.requests["list pods"] == 1


def test_long_lists_come_in_pages(api: FakeApi, store: Store, tmp_path: Path) -> None:
    api.page = 7
    for i in range(20):
        api.put("pods", pod(f"p{i}", f"10.0.0.{i}"))
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    assert len(pods(store)) == 20
    assert api.requests["list pods"] == 3


@pytest.mark.parametrize("inside", [False, True])
def test_cut_watch_resumes_without_listing_and_misses_nothing(
    api: FakeApi, store: Store, tmp_path: Path, inside: bool
) -> None:
    start(api, store, tmp_path)
    eventually(lambda: api.requests["watch pods"] >= 1)
    for i in range(5):
        api.cut(inside_an_event=inside)
        api.put("pods", pod(f"p{i}", f"10.0.0.{i}"))
        eventually(lambda name=f"p{i}": name in pods(store))
    assert len(pods(store)) == 5
    assert api.requests["watch pods"] >= 2
    assert api.requests["list pods"] == 1


@pytest.mark.parametrize("how", ["answer", "event"])
def test_gone_lists_again_and_drops_what_vanished(api: FakeApi, store: Store, tmp_path: Path, how: str) -> None:
    api.put("pods", pod("stays", "10.0.0.1"))
    api.put("pods", pod("goes", "10.0.0.2"))
    start(api, store, tmp_path)
    eventually(lambda: api.requests["watch pods"] == 1)
    api.silent = True
    api.delete("pods", "goes", "default")
    api.put("pods", pod("comes", "10.0.0.3"))
    if how == "answer":
        api.forget_history()
        api.silent = False
        api.cut()
    else:
        api.cut(error={"code": 410, "message": "too old resource version"})
    eventually(lambda: set(pods(store)) == {"stays", "comes"})
    assert api.requests["list pods"] == 2


def test_bookmarks_move_the_version_without_a_render(api: FakeApi, store: Store, tmp_path: Path) -> None:
    start(api, store, tmp_path)
    eventually(lambda: store.synced and api.requests["watch pods"] == 1)
    generation = store.view()[1].generation
    marked = api.bookmark("pods")
    eventually(lambda: version(store, "pods") == marked)
    assert store.view()[1].generation == generation
    api.cut()
    eventually(lambda: api.requests["watch pods"] == 2)
    assert api.requests["list pods"] == 1


def test_changes_without_meaning_make_no_generation(api: FakeApi, store: Store, tmp_path: Path) -> None:
    api.put("pods", pod("one", "10.0.0.1"))
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    generation = store.view()[1].generation
    status_only = pod("one", "10.0.0.1")
    status_only["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    seen = api.put("pods", status_only)
    eventually(lambda: version(store, "pods") == seen)
    assert store.view()[1].generation == generation
    api.put("pods", pod("one", "10.0.0.2"))
    eventually(lambda: store.view()[1].generation == generation + 1)


def test_errors_are_waited_out(api: FakeApi, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    api.failures = [(500, "")] * 4 + [(429, "1")] * 2 + [(401, "")]
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    assert not api.failures
    assert "HTTP 500" in caplog.text
    assert "t0ken" not in caplog.text


def test_a_watch_refused_for_good_lists_again(api: FakeApi, store: Store, tmp_path: Path) -> None:
    start(api, store, tmp_path)
    eventually(lambda: store.synced and api.requests["watch pods"] == 1)
    api.failures = [(504, "")] * 3
    api.cut()
    eventually(lambda: sum(api.requests[f"list {kind}"] for kind in KINDS) == 6)
    api.put("pods", pod("one", "10.0.0.1"))
    eventually(lambda: set(pods(store)) == {"one"})


def test_retry_after_is_honoured(api: FakeApi, store: Store, tmp_path: Path) -> None:
    api.failures = [(429, "1")] * 3
    begun = time.monotonic()
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    assert time.monotonic() - begun > 0.95


def test_back_off_is_bounded_while_the_server_is_away(api: FakeApi, store: Store, tmp_path: Path) -> None:
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    port = api.port
    api.close()
    time.sleep(1.5)
    again = FakeApi(port, version=200)
    try:
        again.put("pods", pod("new", "10.0.0.9"))
        assert eventually(lambda: set(pods(store)) == {"new"}) < watch.LAST_DELAY + 1
        assert again.requests["watch pods"] < 10
    finally:
        again.close()


def test_a_silently_dead_watch_is_replaced(
    api: FakeApi, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", 0)
    monkeypatch.setattr(watch, "READ_SLACK", 0.3)
    api.silent = True
    start(api, store, tmp_path)
    eventually(lambda: api.requests["watch pods"] == 1)
    api.put("pods", pod("unseen", "10.0.0.1"))
    eventually(lambda: api.requests["watch pods"] > 1)
    api.silent = False
    eventually(lambda: set(pods(store)) == {"unseen"})


def test_watch_that_ends_at_once_is_no_busy_loop(api: FakeApi, store: Store, tmp_path: Path) -> None:
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    stop = threading.Event()

    def keep_cutting() -> None:
        while not stop.wait(0.001):
            api.cut()

    cutter = threading.Thread(target=keep_cutting)
    cutter.start()
    time.sleep(2)
    stop.set()
    cutter.join()
    assert api.requests["watch pods"] < 15


def test_policy_that_is_not_understood_closes_its_namespace(api: FakeApi, store: Store, tmp_path: Path) -> None:
    strange: dict[str, Any] = {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Newer"}]}}
    api.put("networkpolicies", policy("strange", strange))
    api.put("networkpolicies", policy("fine", {"podSelector": app("x")}))
    start(api, store, tmp_path)
    eventually(lambda: store.synced)
    found = policies(store)
    assert (found["strange"].ingress, found["strange"].egress) == ((), ())
    assert found["strange"].selector.matches({})
    assert not found["fine"].selector.matches({})


def test_store_is_synced_only_when_every_kind_was_listed() -> None:
    store = Store()
    for kind in KINDS:
        assert not store.synced
        assert not store.wait(-1, 0)
        store.replace(kind, {}, "1")
    assert store.synced
    assert store.wait(-1, 0)
