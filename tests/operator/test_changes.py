"""`elink-operator changes`: chosen, ordered, harmless to a terminal."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from elink_operator.__main__ import main
from elink_operator.desired.change import About, build_change, differences
from elink_operator.jst import JST

START = datetime(2026, 11, 1, 9, tzinfo=JST)


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kubectl printed, newest first."""
    abouts = [
        About("ElinkTenant", "aozora", "1", "shared-1"),
        About("ElinkTenant", "aozora-2", "2", "shared-2"),
        About("ElinkServer", "shared-1", "3", "shared-1"),
    ]
    made = [
        build_change(
            about,
            key="000001",
            what="Created",
            who="alice",
            now=START + timedelta(days=day),
            generation=1,
            fields=differences({}, {"host": "a\x1b[2Jb"}),
        )
        for day, about in enumerate(abouts)
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"items": made[::-1]})))


def names(arguments: list[str], capsys: Any) -> list[str]:
    assert main(["changes", "--file", "-", "--format", "json", *arguments]) == 0
    return [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["aozora", "aozora-2", "shared-1"]),
        (["--tenant", "aozora"], ["aozora"]),
        (["--server", "shared-1"], ["aozora", "shared-1"]),
        (["--since", "2026-11-02"], ["aozora-2", "shared-1"]),
        (["--since", "2026-11-02T00:00:01+00:00"], ["shared-1"]),
        (["--tenant", "nobody"], []),
    ],
)
def test_chosen_and_oldest_first(arguments: list[str], expected: list[str], capsys: Any) -> None:
    assert names(arguments, capsys) == expected


def test_the_table_is_for_people_and_moves_no_cursor(capsys: Any) -> None:
    assert main(["changes", "--file", "-", "--tenant", "aozora"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["WHEN", "WHO", "WHAT", "KIND", "NAME", "SUMMARY"],
        ["2026-11-01T09:00:00+09:00", "alice", "Created", "ElinkTenant", "aozora", "host:", "none", "->", "a?[2Jb"],
    ]


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "1"])
def test_a_wrong_time_is_refused_with_a_sentence(since: str, capsys: Any) -> None:
    assert main(["changes", "--file", "-", "--since", since]) == 2
    assert "write 2026-11-28" in capsys.readouterr().err


def test_what_is_no_record_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"items": [{"spec": {"who": 3}}]}'))
    assert main(["changes", "--file", "-"]) == 2
