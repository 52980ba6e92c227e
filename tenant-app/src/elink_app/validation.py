"""From pydantic's errors to sentences that say what to do, the same for forms and for the API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, BeforeValidator, StringConstraints
from pydantic_core import ErrorDetails, PydanticCustomError

from elink_app.errors import FieldError
from elink_app.messages import N_, Message
from elink_app.text import has_refused_character, unify_line_breaks

_MESSAGES = {
    "missing": N_("This entry is required."),
    "required": N_("This entry is required."),
    "string_too_short": N_("This entry is required."),
    "string_too_long": N_("Use at most %(max_length)d characters."),
    "too_long": N_("Give at most %(max_length)d entries."),
    "string_unicode": N_("This holds a character that is not valid. Delete it and type it again."),
    "control_character": N_("This holds an invisible control character or line break. Delete it and type it again."),
    "kana": N_("Write the reading in katakana or hiragana."),
    "email": N_("This is not an e-mail address. Write it like name@example.co.jp."),
    "email_twice": N_("This e-mail is entered twice. Delete one of them."),
    "phone": N_("Use digits, spaces, brackets, + and hyphens only, for example 03-1234-5678."),
    "postal_code": N_("Use digits, letters and hyphens only, for example 100-0001."),
    "tag": N_("A tag may not contain a comma."),
    "password_short": N_("Use at least %(min_length)d characters. A sentence of several words works well."),
    "password_common": N_("This password is too easy to guess. Choose another one."),
    "password_wrong": N_("This is not your present password."),
    "password_mismatch": N_("The two passwords are not the same. Type both again."),
    "cursor": N_("This page of the list no longer exists. Go back to the first page."),
    "string_type": N_("Send text here."),
    "list_type": N_("Send a list here."),
    "int_type": N_("Send a whole number here."),
    "int_parsing": N_("Send a whole number here."),
    "extra_forbidden": N_("This entry is not known. Leave it out."),
    "json_invalid": N_("The body is not valid JSON."),
}
_OTHER = N_("This value is not accepted here. Check it and send again.")


def message_for(code: str, context: dict[str, Any] | None = None) -> Message:
    """The sentence for an error code, with the numbers that it names."""
    return Message(_MESSAGES.get(code, _OTHER), dict(context or {}))


def refuse(code: str, **context: object) -> PydanticCustomError:
    """An error for a validator to raise; `code` is a key of the sentences above."""
    return PydanticCustomError(code, "{code}", {"code": code, **context})


def field_error(field: tuple[str | int, ...], code: str, **context: object) -> FieldError:
    """An error found by a service and not by a model."""
    return FieldError(field, code, message_for(code, context))


def field_errors(errors: Sequence[ErrorDetails | Any], *, skip: int = 0) -> list[FieldError]:
    """Pydantic's errors as ours; `skip` leaves out leading parts of the path (`body`)."""
    return [
        FieldError(tuple(error["loc"][skip:]), error["type"], message_for(error["type"], error.get("ctx")))
        for error in errors
    ]


def _one_line(value: str) -> str:
    if has_refused_character(value):
        raise refuse("control_character")
    return value


def _many_lines(value: str) -> str:
    if has_refused_character(value, multiline=True):
        raise refuse("control_character")
    return value


def _unify(value: object) -> object:
    return unify_line_breaks(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Line(GroupedMetadata):
    """For `Annotated[str, Line(100)]`: outer spaces go, length in characters, no control character, no line break."""

    max_length: int
    min_length: int = 0

    def __iter__(self) -> Iterator[object]:
        """What it stands for."""
        yield from StringConstraints(
            strip_whitespace=True, min_length=self.min_length or None, max_length=self.max_length
        )
        yield AfterValidator(_one_line)


@dataclass(frozen=True)
class Lines(GroupedMetadata):
    """The same for text of several lines; line breaks become LF."""

    max_length: int

    def __iter__(self) -> Iterator[object]:
        """What it stands for."""
        yield BeforeValidator(_unify)
        yield from StringConstraints(strip_whitespace=True, max_length=self.max_length)
        yield AfterValidator(_many_lines)
