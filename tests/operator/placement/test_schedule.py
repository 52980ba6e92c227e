"""Backups are spread over the night, each tenant's at a fixed minute."""

import re
from collections import Counter

from elink_operator.schedule import default_schedule


def test_between_one_and_five_and_always_the_same() -> None:
    for number in range(500):
        text = default_schedule(f"tenant-{number}")
        found = re.fullmatch(r"(\d+) (\d+) \* \* \*", text)
        assert found is not None
        assert 0 <= int(found[1]) < 60
        assert 1 <= int(found[2]) < 5
        assert default_schedule(f"tenant-{number}") == text


def test_a_full_server_is_spread() -> None:
    minutes = Counter(default_schedule(f"tenant-{number}") for number in range(1000))
    assert len(minutes) > 200
    assert max(minutes.values()) < 20


def test_pinned() -> None:
    """A change of the rule would move every tenant's backup."""
    assert default_schedule("acme") == "12 4 * * *"
