"""What each program means: which addresses it would change, and what an address becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, not_, or_, select, true

from elink_app.addresses.models import Address, AddressEmail
from elink_app.addresses.schemas import MAX_EMAILS, MAX_TAGS
from elink_app.attributes.schemas import value_text
from elink_app.consent.models import Suppression
from elink_app.emails import email_key
from elink_app.text import search_form
from elink_app.utilities.schemas import (
    ATTRIBUTE,
    PLAIN,
    EditProgram,
    MergeProgram,
    Program,
    RetagProgram,
    SuppressProgram,
)


def would_change(program: Program, value: Any, tags: Mapping[str, int]) -> ColumnElement[bool]:
    """True for addresses that are not yet what the program makes of them: running twice does nothing.

    `value`: what an edit sets, checked; None clears. `tags`: ids by key of those of a re-tagging that exist.
    """
    if isinstance(program, EditProgram):
        if not program.field.startswith(ATTRIBUTE):
            column: ColumnElement[bool] = getattr(Address, program.field) != (value or "")
            return column
        key = program.field.removeprefix(ATTRIBUTE)
        bears: ColumnElement[bool] = Address.attributes.has_key(key)
        return bears if value is None else not_(Address.attributes.contains({key: value}))
    if isinstance(program, RetagProgram):
        keys = [search_form(name) for name in program.add]
        missing = [not_(Address.tag_ids.contains([tags[key]])) if key in tags else true() for key in keys]
        unwanted = [tags[key] for key in map(search_form, program.remove) if key in tags]
        borne = [Address.tag_ids.overlap(unwanted)] if unwanted else []
        return or_(False, *missing, *borne)
    if isinstance(program, SuppressProgram):
        blocked = select(Suppression.id).where(
            Suppression.email_key == AddressEmail.email_key,
            Suppression.lifted_at.is_(None),
            Suppression.reason == "blocked",
        )
        mail = select(AddressEmail.address_id).where(AddressEmail.address_id == Address.id, ~blocked.exists())
        return mail.exists()
    return and_(True)


def changed(program: EditProgram | RetagProgram, value: Any, current: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of an address afterwards; None when they do not fit (no room for another tag)."""
    after = dict(current)
    if isinstance(program, EditProgram):
        if program.field.startswith(ATTRIBUTE):
            key = program.field.removeprefix(ATTRIBUTE)
            others = {name: one for name, one in current["attributes"].items() if name != key}
            after["attributes"] = others if value is None else {**others, key: value}
        else:
            after[program.field] = value or ""
        return after
    gone = set(map(search_form, program.remove))
    kept = [tag for tag in current["tags"] if search_form(tag) not in gone]
    known = set(map(search_form, kept))
    new = {search_form(tag): tag for tag in program.add if search_form(tag) not in known}
    after["tags"] = [*kept, *new.values()]
    return after if len(after["tags"]) <= max(MAX_TAGS, len(current["tags"])) else None


def united(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The first address with what it lacks from the others; None when one address cannot hold it all."""
    after = dict(rows[0])
    for name in PLAIN:
        after[name] = next((row[name] for row in rows if row[name]), "")
    emails: dict[str, str] = {}
    tags: dict[str, str] = {}
    attributes: dict[str, Any] = {}
    for row in rows:
        for email in row["emails"]:
            emails.setdefault(email_key(email), email)
        for tag in row["tags"]:
            tags.setdefault(search_form(tag), tag)
        attributes = {**row["attributes"], **attributes}
    after |= {"emails": list(emails.values()), "tags": list(tags.values()), "attributes": attributes}
    return after if len(emails) <= MAX_EMAILS and len(tags) <= MAX_TAGS else None


def shown(program: Program, values: Mapping[str, Any]) -> str:
    """The part of an address that the program is about, for a sample."""
    if isinstance(program, EditProgram):
        if program.field.startswith(ATTRIBUTE):
            value = values["attributes"].get(program.field.removeprefix(ATTRIBUTE), "")
            return ("はい" if value else "いいえ") if isinstance(value, bool) else value_text(value)
        return str(values[program.field])
    if isinstance(program, RetagProgram):
        return "、".join(sorted(values["tags"]))
    return "、".join(values["emails"])


def without_private(program: Program) -> dict[str, Any]:
    """What the log says of a request: no values and no e-mails."""
    found = program.model_dump(mode="json", exclude={"value", "emails"})
    if isinstance(program, EditProgram):
        found["clears"] = not program.value
    if isinstance(program, SuppressProgram):
        found["emails"] = len(program.emails)
    if isinstance(program, MergeProgram):
        found["likeness"] = program.likeness.value
    return found
