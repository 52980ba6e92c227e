"""The chain of erasure records: whatever is done to a record is found, and the first broken one is named."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elink_operator.__main__ import main
from elink_operator.api import ElinkErasure, ElinkTenant
from elink_operator.api.erasure import FIRST, hash_of, record_name, seal, verify
from elink_operator.desired.erasure import Link, Removed, build_erasure
from elink_operator.engine import utc_now
from elink_operator.settings import Settings

Record = dict[str, Any]


def tenant(name: str) -> ElinkTenant:
    spec = {"plan": "Shared", "displayName": "株式会社あおぞら", "masterAccount": {"email": "kanri@example.jp"}}
    status = {"server": "shared-1", "cancelledAt": "2026-01-01T00:00:00Z", "eraseAfter": "2026-01-15T00:00:00Z"}
    return ElinkTenant.parse({"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": spec, "status": status})


def chain(length: int = 5) -> list[Record]:
    now, link, records = utc_now(), Link(), []
    for number in range(length):
        stores = [Removed("Database", f"t_aozora_{number}", "dropped, 3 sessions ended", now, now)]
        record = build_erasure(Settings(), tenant(f"aozora-{number}"), stores, neighbours="", now=now, after=link)
        link = Link(record["spec"]["sequence"], record["spec"]["hash"])
        records.append(record)
    return records


def test_a_record_says_what_it_must() -> None:
    record = chain(1)[0]
    spec = ElinkErasure.parse(record).spec
    assert record["metadata"]["name"] == "erasure-00000001"
    assert (spec.tenant, spec.server, spec.previous) == ("aozora-0", "shared-1", FIRST)
    assert (spec.cancelled_at, spec.erase_after) == ("2026-01-01T09:00:00+09:00", "2026-01-15T09:00:00+09:00")
    assert spec.dump() == record["spec"], "nothing may be added or lost on the way through the API server"
    text = json.dumps(record, ensure_ascii=False)
    assert "あおぞら" not in text
    assert "kanri@" not in text


def test_the_hash_is_the_documented_one() -> None:
    spec = {"b": "あ", "a": [1, {"z": "", "y": "2"}], "hash": "x"}
    canonical = '{"a":[1,{"y":"2","z":""}],"b":"あ"}'
    assert hash_of(spec) == hashlib.sha256(canonical.encode()).hexdigest()
    assert hash_of(spec) == hash_of(dict(reversed(spec.items())) | {"hash": "another"})


def test_an_intact_chain_in_any_order() -> None:
    records = chain()
    verdict = verify(list(reversed(records)), head=records[2]["spec"]["hash"])
    assert verdict.intact
    assert (verdict.records, verdict.head) == (5, records[-1]["spec"]["hash"])
    assert verify([]).intact


def edited(records: list[Record]) -> str:
    records[2]["spec"]["stores"][0]["removed"] = "nothing"
    return records[2]["metadata"]["name"]


def edited_and_sealed(records: list[Record]) -> str:
    records[2]["spec"] = seal(records[2]["spec"] | {"tenant": "midori"})
    return records[3]["metadata"]["name"]


def removed(records: list[Record]) -> str:
    del records[2]
    return "erasure-00000003"


def removed_and_renumbered(records: list[Record]) -> str:
    del records[2]
    for number, record in enumerate(records, start=1):
        record["spec"] = seal(record["spec"] | {"sequence": number})
        record["metadata"]["name"] = record_name(number)
    return "erasure-00000003"


def renamed(records: list[Record]) -> str:
    records[1]["metadata"]["name"] = "something-else"
    return "something-else"


def added(records: list[Record]) -> str:
    records.insert(3, copy.deepcopy(records[2]) | {"metadata": {"name": "copy"}})
    return "erasure-00000004"


def first_removed(records: list[Record]) -> str:
    del records[0]
    return "erasure-00000001"


def without_spec(records: list[Record]) -> str:
    records[0]["spec"] = {}
    return "erasure-00000001"


ATTACKS = [edited, edited_and_sealed, removed, removed_and_renumbered, renamed, added, first_removed, without_spec]


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_first_broken_record_is_named(attack: Callable[[list[Record]], str], tmp_path: Path, capsys: Any) -> None:
    records = chain()
    expected = attack(records)
    assert verify(records).broken == expected
    file = tmp_path / "records.json"
    file.write_text(json.dumps({"items": records}))
    assert main(["erasures", "verify", "--file", str(file)]) == 1
    assert capsys.readouterr().out.startswith(f"BROKEN at {expected}: ")


def test_records_cut_off_from_the_end_are_noticed_with_a_hash_from_before() -> None:
    records = chain()
    head = records[-1]["spec"]["hash"]
    assert verify(records[:-1]).intact, "nothing in the rest can tell"
    verdict = verify(records[:-1], head=head)
    assert (verdict.broken, head in verdict.problem) == ("erasure-00000005", True)


def test_the_command_reads_what_kubectl_prints(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    records = chain(2)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"kind": "List", "items": records})))
    assert main(["erasures", "verify", "--file", "-"]) == 0
    assert capsys.readouterr().out == f"intact: 2 records, newest hash {records[-1]['spec']['hash']}\n"


@pytest.mark.parametrize("text", ["", "[1]", '{"items": 3}', "null"])
def test_what_is_no_list_of_records_is_not_intact(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["erasures", "verify", "--file", "-"]) == 2
