"""Records of changes: the word, what differs, nothing of people, names that tell one change from another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from elink_operator import labels
from elink_operator.api import ElinkChange
from elink_operator.desired.change import (
    UNKNOWN,
    About,
    annotation_author,
    build_change,
    differences,
    spec_author,
    what_changed,
)
from elink_operator.engine import utc_now
from elink_operator.handlers.authors import authors

ABOUT = About("ElinkTenant", "aozora", "uid-1", "shared-1")
Spec = dict[str, Any]


def changed(before: Spec, after: Spec, kind: str = "ElinkTenant") -> str:
    return what_changed(kind, differences(before, after))


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"state": "Active"}, {"state": "Suspended"}, "Suspended"),
        ({"state": "Suspended"}, {"state": "Active"}, "Resumed"),
        ({"state": "Active", "host": "a"}, {"state": "Cancelled", "host": "b"}, "Cancelled"),
        ({"state": "Cancelled"}, {"state": "Active"}, "CancellationUndone"),
        ({"state": "Cancelled"}, {"state": "Suspended"}, "CancellationUndone"),
        ({"size": {"app": {"replicas": 2}}}, {"size": {"app": {"replicas": 3}}}, "Resized"),
        ({"host": "a"}, {"host": "b"}, "Changed"),
        ({"contacts": {"emails": ["a@b.jp"]}}, {}, "Changed"),
    ],
)
def test_the_word_of_a_tenants_change(before: Spec, after: Spec, word: str) -> None:
    assert changed(before, after) == word


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"version": ""}, {"version": "0.2.0", "app": {"replicas": 3}}, "Upgraded"),
        ({"cordoned": False}, {"cordoned": True}, "Cordoned"),
        ({"cordoned": True}, {"cordoned": False}, "Uncordoned"),
        ({"app": {"replicas": 2}}, {"app": {"replicas": 3}}, "Resized"),
        ({"database": {"storage": "10Gi"}}, {"database": {"storage": "20Gi"}}, "Resized"),
        ({"database": {"secretRef": {"name": "a"}}}, {"database": {"secretRef": {"name": "b"}}}, "Changed"),
    ],
)
def test_the_word_of_a_servers_change(before: Spec, after: Spec, word: str) -> None:
    assert changed(before, after, "ElinkServer") == word


def test_only_what_differs_is_listed_with_its_values() -> None:
    before = {"limits": {"addresses": 10, "storage": "5Gi"}, "backup": {"generations": 7}}
    after = {"limits": {"addresses": 20, "storage": "5Gi"}, "language": "en"}
    assert [field.dump() for field in differences(before, after)] == [
        {"field": "backup.generations", "before": "7", "after": ""},
        {"field": "language", "before": "", "after": "en"},
        {"field": "limits.addresses", "before": "10", "after": "20"},
    ]
    assert differences(before, json.loads(json.dumps(before))) == []


def test_nothing_of_people_is_in_a_record_and_their_change_is_seen_all_the_same() -> None:
    before = {
        "displayName": "株式会社あおぞら",
        "stateReason": "未払い 山田",
        "masterAccount": {"email": "yamada@aozora.example"},
        "contacts": {"emails": ["tanaka@aozora.example", "sato@aozora.example"], "chatworkRoomId": "12345"},
        "mail": {"from": "yamada@aozora.example", "replyTo": "info@aozora.example"},
    }
    after = json.loads(json.dumps(before).replace("yamada", "yoshida").replace("tanaka", "takeda"))
    found = differences(before, after)
    # The first characters are the same: it still says that the field has changed.
    assert [field.field for field in found] == ["contacts.emails", "mail.from", "masterAccount.email"]
    made = build_change(ABOUT, key="1", what="Created", who="x", now=utc_now(), generation=1, fields=found)
    everything = build_change(
        ABOUT, key="1", what="Created", who="x", now=utc_now(), generation=1, fields=differences({}, before)
    )
    for record in (made, everything):
        text = json.dumps(record, ensure_ascii=False)
        assert not any(word in text for word in ("amada", "anaka", "oshida", "example", "あおぞら", "山田", "2345"))


def test_a_record_passes_through_the_model_unchanged_and_holds_any_length() -> None:
    huge = {f"field{number}": "x" * 5000 for number in range(100)} | {"list": ["y" * 300] * 30}
    made = build_change(
        ABOUT, key="000001", what="Created", who="w" * 900, now=utc_now(), generation=1, fields=differences({}, huge)
    )
    assert ElinkChange.parse(made).spec.dump() == made["spec"]
    assert made["metadata"]["labels"] == {
        labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
        labels.SERVER: "shared-1",
        labels.TENANT: "aozora",
        labels.TENANT_UID: "uid-1",
    }
    assert len(made["metadata"]["name"]) < 80
    assert made["spec"]["at"].endswith("+09:00")


def test_tenants_and_servers_of_one_name_and_two_lives_of_a_name_have_records_of_their_own() -> None:
    abouts = [ABOUT, About("ElinkServer", "aozora", "uid-1"), About("ElinkTenant", "aozora", "uid-2")]
    names = {
        build_change(about, key="000001", what="Created", who="x", now=utc_now(), generation=1)["metadata"]["name"]
        for about in abouts
    }
    assert len(names) == 3


def obj(annotations: dict[str, str] | None = None, generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"generation": generation, "annotations": annotations or {}}, "spec": spec}


def admitted(new: dict[str, Any], old: dict[str, Any], user: str) -> dict[str, Any]:
    """What the API server stores when the webhook answered."""
    found = {k: v for k, v in authors(new, old, user, "2026-11-28T09:00:00+09:00").items() if v is not None}
    kept = {k: v for k, v in new["metadata"]["annotations"].items() if k not in labels.OPERATOR_ANNOTATIONS}
    generation = old["metadata"]["generation"] + (old["spec"] != new["spec"]) if old else 1
    return {"metadata": {"generation": generation, "annotations": kept | found}, "spec": new["spec"]}


class TestAuthors:
    def test_of_a_creation_and_of_a_change(self) -> None:
        first = admitted(obj(host="a"), {}, "alice")
        assert spec_author(first) == "alice"
        second = admitted(obj(first["metadata"]["annotations"], host="b"), first, "bob")
        assert spec_author(second) == "bob"

    def test_the_operators_own_writes_change_no_author(self) -> None:
        first = admitted(obj(host="a"), {}, "alice")
        placed = obj(first["metadata"]["annotations"] | {labels.PLACED_ON: "s"}, host="a")
        assert spec_author(admitted(placed, first, "operator")) == "alice"

    def test_a_forged_one_is_overwritten_and_a_removed_one_put_back(self) -> None:
        first = admitted(obj(host="a"), {}, "alice")
        for forged in ({labels.CHANGED_BY: "1 mallory"}, {}):
            assert spec_author(admitted(obj(forged, host="a"), first, "mallory")) == "alice"
        both = obj({labels.CHANGED_BY: "2 alice"}, host="b")
        assert spec_author(admitted(both, first, "mallory")) == "mallory"

    def test_a_change_that_the_webhook_did_not_see_has_no_author(self) -> None:
        first = admitted(obj(host="a"), {}, "alice")
        unseen = obj(first["metadata"]["annotations"], generation=2, host="b")
        assert spec_author(unseen) == UNKNOWN
        assert spec_author(obj(host="a")) == UNKNOWN

    def test_of_annotations(self) -> None:
        first = admitted(obj(host="a"), {}, "alice")
        confirmed = admitted(
            obj(first["metadata"]["annotations"] | {labels.CONFIRM_ERASURE: "t"}, host="a"), first, "bob"
        )
        assert (spec_author(confirmed), annotation_author(confirmed)) == ("alice", "bob")
        unseen = json.loads(json.dumps(confirmed))
        unseen["metadata"]["annotations"][labels.TAKE_UPDATE] = "1"
        assert annotation_author(unseen) == UNKNOWN

    @pytest.mark.parametrize("name", ["", "a\nb\x00c", "x" * 5000, "山田 太郎", "system:serviceaccount:flux:kustomize"])
    def test_any_name_of_a_user(self, name: str) -> None:
        who = spec_author(admitted(obj(host="a"), {}, name))
        assert who.isprintable()
        assert len(who) <= 200
