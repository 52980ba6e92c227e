"""The same words for what is wrong, whatever kind of text it is wrong with."""

from __future__ import annotations

from typing import Annotated

import pytest
from elink_app.validation import Line, Lines
from pydantic import TypeAdapter, ValidationError


@pytest.mark.parametrize("kind", [Line(3), Lines(3)])
def test_a_text_that_is_too_long_is_measured_in_characters(kind: Line | Lines) -> None:
    adapter = TypeAdapter(Annotated[str, kind])
    assert adapter.validate_python("  abc\u3000") == "abc"
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python("abcd")
    (error,) = caught.value.errors()
    assert (error["type"], error["ctx"]) == ("string_too_long", {"max_length": 3})


def test_a_line_break_of_a_browser_is_one_character() -> None:
    assert TypeAdapter(Annotated[str, Lines(3)]).validate_python("a\r\nb") == "a\nb"
