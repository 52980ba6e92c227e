"""Cells of a row as fields of an address."""

from __future__ import annotations

from typing import Any

import pytest
from elink_app.transfer.columns import Columns

CASES: list[tuple[list[str], list[str], dict[str, Any]]] = [
    (["name", "", "name"], ["山田", "要らない", "太郎"], {"name": "山田 太郎"}),
    (["notes", "notes", "phone", "phone"], ["一", "二", "03-1", "03-2"], {"notes": "一\n二", "phone": "03-1"}),
    (["phone", "phone"], ["", "03-2"], {"phone": "03-2"}),
    (["emails", "emails"], ["a@x.jp  b@x.jp", "a@x.jp"], {"emails": ["a@x.jp", "b@x.jp"]}),
    (["tags", "tags"], ["甲、 乙,,甲", "丙;丁"], {"tags": ["甲", "乙", "甲", "丙", "丁"]}),
    (["tags"], ["、"], {"tags": []}),
    (["name", "company"], ["'=1+1", "''-x"], {"name": "=1+1", "company": "'-x"}),
    (["name"], ["'飛騨"], {"name": "'飛騨"}),
    (["attribute:a", "attribute:b", "attribute:a"], ["", "二", "三"], {"attributes": {"a": "三", "b": "二"}}),
    (["attribute:a", "consent"], ["", "はい"], {}),
    (["name", "kana", "emails", "attribute:a"], ["山田"], {"name": "山田"}),
    ([], ["x"], {}),
]


@pytest.mark.parametrize(("columns", "row", "values"), CASES)
def test_cells_by_field(columns: list[str], row: list[str], values: dict[str, Any]) -> None:
    assert Columns(columns).collect(row) == values


def test_the_guard_of_a_consent_is_taken_off_once() -> None:
    assert Columns(["consent"]).consents(["はい"])
    assert not Columns(["consent"]).consents(["''=はい"])
