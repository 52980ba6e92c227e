"""What a restore's Jobs may say to the operator, and what they may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from elink_operator.restore_report import container_messages, parse_failure, parse_held, parse_report

GOOD: dict[str, Any] = {
    "generation": "20260131T170000Z", "made": "2026-01-31T17:00:00Z", "rows": 5, "tables": 2, "files": 1,
    "different": [],
}  # fmt: skip


def test_report() -> None:
    found = parse_report(json.dumps(GOOD))
    assert found is not None
    assert (found.generation, found.rows, found.tables, found.files, found.different) == (
        "20260131T170000Z", 5, 2, 1, (),
    )  # fmt: skip


def test_names_of_files_are_counted_not_told() -> None:
    text = json.dumps({**GOOD, "different": ["file 山田.pdf", "table address", "file b"]})
    found = parse_report(text)
    assert found is not None
    assert found.different == ("table address", "2 files")


@pytest.mark.parametrize(
    "text", [None, "", "no json", "[]", "1", '"x"', "{}", json.dumps({**GOOD, "rows": "many"}), '{"rows": null}']
)
def test_what_is_no_report_is_none(text: str | None) -> None:
    assert parse_report(text) is None
    assert parse_held(text) is None


@pytest.mark.parametrize(
    ("text", "container", "reason", "again"),
    [
        ('{"reason": "WrongKey"}', "restore", "WrongKey", False),
        ('{"reason": "StoreAway", "message": "<script>"}', "restore", "StoreAway", True),
        ('{"different": ["table a"]}', "restore", "Different", False),
        ('{"reason": "Evil' + "x" * 9000 + '"}', "restore", "BackupFailed", False),
        ('{"reason": ["WrongKey"]}', "restore", "BackupFailed", False),
        ("", "restore", "JobLost", True),
        ("Traceback", "migrate", "MigrationFailed", False),
        ("", "disarm", "DisarmFailed", False),
    ],
)
def test_only_known_words_become_a_reason(text: str, container: str, reason: str, again: bool) -> None:
    found = parse_failure(text, container)
    assert (found.reason, found.again) == (reason, again)
    assert "script" not in found.message


@pytest.mark.parametrize(
    ("container", "code", "reason"),
    [("migrate", 3, "SchemaTooNew"), ("migrate", 1, "MigrationFailed"), ("disarm", 3, "DisarmFailed")],
)
def test_a_schema_that_is_too_new_is_known_by_the_exit_code(container: str, code: int, reason: str) -> None:
    assert parse_failure("", container, code).reason == reason
    assert (
        "set spec.version of the server to the one from which it was set back"
        in parse_failure("", "migrate", 3).message
    )


def test_a_damaged_generation_and_the_others_are_named() -> None:
    others = ["20260130T170000Z", "../../evil", 7, "20260129T170000Z"]
    said = {"reason": "StoreDamaged", "generation": "20260131T170000Z", "others": others}
    found = parse_failure(json.dumps(said), "restore")
    assert found.generation == "20260131T170000Z"
    assert "it is 20260131T170000Z; others in the store: 20260130T170000Z, 20260129T170000Z)" in found.message
    found = parse_failure(json.dumps({**GOOD, "different": ["table a"], "others": []}), "restore")
    assert (found.reason, found.generation) == ("Different", "20260131T170000Z")
    assert "there is no other in the store" in found.message
    found = parse_failure(json.dumps({**said, "reason": "StoreAway"}), "restore")
    assert "20260130" not in found.message, "another one would not help"
    found = parse_failure('{"reason": "GenerationMissing", "generation": {}, "others": "x"}', "restore")
    assert (found.reason, found.generation) == ("GenerationMissing", "")


def test_deliveries_and_mails_are_added() -> None:
    assert parse_held('{"deliveries": 2, "mails": 3}') == 5


def test_the_newest_pod_speaks() -> None:
    def pod(created: str, code: int) -> dict[str, Any]:
        ended = {"terminated": {"exitCode": code, "message": created}}
        status = {"containerStatuses": [{"name": "a", "state": ended}, {"name": "b", "state": {"running": {}}}]}
        return {"metadata": {"creationTimestamp": created}, "status": status}

    assert container_messages([pod("2", 0), pod("1", 1)]) == {"a": (0, "2")}
    assert container_messages([]) == {}
