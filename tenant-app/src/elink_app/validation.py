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
    "tag_reserved": N_("This tag may not be used by your account. Choose another name."),
    "tag_bound": N_(
        "Only who may see, export and write to the addresses of an information label may take it off: %(tags)s. Put it "
        "back, or ask the master account."
    ),
    "attribute_key": N_("Use small letters, digits and _ only, beginning with a letter, at most 40."),
    "key_taken": N_("This key is in use, or its values are not erased yet. Choose another one."),
    "choice_twice": N_("A choice is entered twice. Delete one of them."),
    "choice_in_use": N_("Addresses still bear the choice %(choice)s. Change them first, then take it away."),
    "choices_unused": N_("Only a field of the type choice has choices. Leave them out."),
    "choice": N_("Choose one of the entries offered."),
    "number": N_("Write a number with at most 15 digits and 6 decimal places, for example 1234.5."),
    "date": N_("Write a date that exists, for example 2026-04-01."),
    "yes_no": N_("Write yes or no."),
    "moment": N_("This moment is too long ago. Check the year."),
    "name_taken": N_("This name is in use already. Choose another one."),
    "tree_too_large": N_("Use at most %(max_conditions)d conditions in %(max_depth)d levels."),
    "operator": N_("This comparison does not go with this field. Choose another one."),
    "password_reused": N_("You have used this password before. Choose another one."),
    "enum": N_("Choose one of the values that are offered."),
    "role": N_("One of these roles no longer exists. Choose again."),
    "email_taken": N_("There is a user with this e-mail already."),
    "too_many_roles": N_("There can be at most %(max_length)d roles."),
    "too_many_users": N_("There can be at most %(max_length)d users."),
    "too_many_fields": N_("There can be at most %(max_length)d fields."),
    "too_many_tokens": N_("There can be at most %(max_length)d tokens. Revoke one first."),
    "too_many_passkeys": N_("There can be at most %(max_length)d passkeys. Remove one first."),
    "own_passkey_first": N_("Add a passkey to your own account first. Without one you could not undo this."),
    "own_passkey_unused": N_("Log out and log in with your own passkey first. It shows that you will get in again."),
    "permission_lacking": N_("You do not have one of these permissions yourself."),
    "code_wrong": N_("This code is not right, or it was used already. Wait for the next one."),
    "choices": N_("Give at least one choice, each once."),
    "day": N_("Write a date like 2026-04-01."),
    "field_key": N_("Use lower-case letters, digits and underscores, starting with a letter."),
    "greater_than_equal": N_("Give at least %(ge)s."),
    "less_than_equal": N_("Give at most %(le)s."),
    "utility_both": N_("Give either a list of e-mails or addresses, not both."),
    "utility_same_tag": N_("A tag cannot be added and taken away at once."),
    "merge_twice": N_("Choose different addresses, and values of these addresses only."),
    "cursor": N_("This page of the list no longer exists. Go back to the first page."),
    "string_type": N_("Send text here."),
    "list_type": N_("Send a list here."),
    "int_type": N_("Send a whole number here."),
    "int_parsing": N_("Send a whole number here."),
    "html_unreadable": N_("This HTML cannot be read. Check that every tag is closed."),
    "html_empty": N_("Nothing is left of this once scripts and the like are taken away. Write a text."),
    "html_heavy": N_("This HTML is too deeply nested or too large to be laid out. Make it simpler."),
    "mjml": N_("This is not valid MJML. It begins with <mjml><mj-body> and every tag is closed."),
    "mjml_include": N_("mj-include is not available. Put the part itself here."),
    "placeholder_unclosed": N_("A placeholder is not closed: %(excerpt)s"),
    "placeholder_empty": N_("A placeholder names no field: %(excerpt)s"),
    "placeholder_too_long": N_("A placeholder is too long: %(excerpt)s"),
    "placeholder_line_break": N_("A placeholder has a line break in it: %(excerpt)s"),
    "placeholder_brace": N_("A placeholder has a brace in it: %(excerpt)s"),
    "placeholder_unknown": N_("There is no field called “%(name)s”. See the list of placeholders."),
    "too_many_templates": N_("There are %(max)d templates already. Delete one that is not needed."),
    "image_kind": N_("This is not a PNG, JPEG, GIF or WebP image."),
    "image_large": N_("The image is too large. At most %(max_kilobytes)d kB are accepted."),
    "image_room": N_("There is no room for more images. Delete some that are not needed."),
    "attachment_name": N_(
        'A file name has at most %(max_length)d characters, none of / \\ : * ? " < > | and no invisible ones. '
        "Rename the file."
    ),
    "attachment_kind": N_("Files of this kind are not accepted. Accepted are %(kinds)s."),
    "attachment_empty": N_("The file is empty."),
    "attachment_content": N_(
        "The content of the file is not what its name says, or it is locked with a password. Save it anew."
    ),
    "attachment_large": N_(
        "All files of a delivery together may have %(max_kilobytes)d kB. Make the file smaller, or put it on your "
        "website and link to it."
    ),
    "attachment_many": N_("A delivery takes at most %(max)d files."),
    "attachment_twice": N_("This file, or another one of this name, is attached already."),
    "too_short": N_("Give at least one entry."),
    "datetime_from_date_parsing": N_("Give a date and time."),
    "datetime_parsing": N_("Give a date and time."),
    "sender_not_allowed": N_("Deliveries may not come from this address. Choose one of the allowed senders."),
    "segment_missing": N_("Choose who gets it."),
    "imprint_incomplete": N_("Adverts need the name, postal address and contact in the sender settings."),
    "nobody_left": N_("Nobody is left who may get this. Look at who is left out and why."),
    "typed_count": N_("This is not the number of recipients. Look at the number and type it."),
    "moment_range": N_("Give a moment in the future, at most a year away."),
    "quiet_hours": N_("Give both ends of the quiet hours, or neither."),
    "dkim_domain": N_("Keys are made for the domains of your senders only. Add the sender first."),
    "dkim_active": N_("This key signs at the moment. Let another one sign first."),
    "bool_parsing": N_("Send true or false here."),
    "time_parsing": N_("Write a time like 21:00."),
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
        # These first, for the plain string: of what a function returns pydantic would count the "items".
        yield from StringConstraints(strip_whitespace=True, max_length=self.max_length)
        yield BeforeValidator(_unify)
        yield AfterValidator(_many_lines)
