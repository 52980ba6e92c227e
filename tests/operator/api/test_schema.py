"""Patterns and quantities in Python; tests/operator/admission compares the API server with the same samples."""

from __future__ import annotations

import time
from typing import Any

import pytest
from elink_operator.api import schema
from pydantic import TypeAdapter, ValidationError

from tests.operator.api import samples

CASES = [
    (schema.Host, samples.HOSTS),
    (schema.Email, samples.EMAILS),
    (schema.DisplayName, samples.DISPLAY_NAMES),
    (schema.Reason, samples.REASONS),
    (schema.DailyCron, samples.SCHEDULES),
    (schema.ImageTag, samples.VERSIONS),
    (schema.ObjectName, samples.SERVER_NAMES),
]


def _accepts(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "value", "good"), [(kind, value, good) for kind, table in CASES for value, good in table.items()]
)
def test_pattern(kind: Any, value: str, good: bool) -> None:
    assert _accepts(kind, value) is good


FLOORS = [
    (schema.Cores, samples.CORES),
    (schema.Memory, samples.MEMORIES),
    (schema.Volume, samples.VOLUMES),
    (schema.Allowance, samples.ALLOWANCES),
]


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, table in FLOORS for value, good in table.items() if good]
)
def test_quantities(kind: Any, value: str | int) -> None:
    assert _accepts(kind, value)


@pytest.mark.parametrize("value", samples.NO_QUANTITIES)
def test_no_quantities(value: str | int) -> None:
    positive = value not in (0, "0", "0Gi")  # that one is CEL's, like every floor: a pattern cannot say it
    assert _accepts(schema.Quantity, value) is not positive


@pytest.mark.parametrize("value", [True, None, 1.5, [], {}])
def test_quantity_takes_no_other_type(value: object) -> None:
    assert not _accepts(schema.Quantity, value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("500m", 0.5), ("1.5", 1.5), ("2k", 2000), ("1Ki", 1024), ("20Gi", 20 * 2**30), ("1.5Ti", 1.5 * 2**40)],
)
def test_quantity_value(text: str, number: float) -> None:
    assert schema.quantity_value(text) == number


@pytest.mark.parametrize("text", ["", "x", "1X", "Gi", "1 Gi", "-1"])
def test_quantity_value_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        schema.quantity_value(text)


def test_a_refusal_says_the_sentence_of_the_crd() -> None:
    with pytest.raises(ValidationError, match="an e-mail address must look like"):
        TypeAdapter(schema.Email).validate_python("nobody@x")


def test_cel_strings_are_escaped() -> None:
    assert schema.cel_string("a'b\\c") == r"'a\'b\\c'"


def test_non_ascii_characters_are_written_for_re2() -> None:
    assert schema.Matches(r"[\u200b\x07]", "").cel_pattern() == r"'^(?:[\\x{200b}\\x07])$'"


@pytest.mark.parametrize("kind", [schema.Host, schema.Email, schema.DisplayName, schema.DailyCron])
@pytest.mark.parametrize("piece", ["a", "a-", "a.", "-", "\u200d", " ", "1,", "a@"])
def test_no_input_makes_a_pattern_slow(kind: Any, piece: str) -> None:
    started = time.process_time()
    _accepts(kind, (piece * 200)[:199] + "\n")
    _accepts(kind, piece * 500_000)
    assert time.process_time() - started < 0.5
