"""An address that exists and a row of a file with the same e-mail: what becomes of the two. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from elink_app.addresses.schemas import AddressInput
from elink_app.emails import email_key
from elink_app.text import search_form
from elink_app.transfer.columns import Reason, reasons_of


def merge(current: Mapping[str, Any], filled: Mapping[str, Any]) -> AddressInput | list[Reason] | None:
    """The address afterwards; None when nothing changes; reasons when the two do not fit into one.

    Only filled cells count: an empty one takes nothing away. E-mails and tags are added to those that are there.
    """
    values = dict(current)
    for name, given in filled.items():
        if name == "emails":
            known = {email_key(email) for email in values["emails"]}
            values[name] = [*values["emails"], *(email for email in given if email_key(email) not in known)]
        elif name == "tags":
            known = {search_form(tag) for tag in values["tags"]}
            values[name] = [*values["tags"], *(tag for tag in given if search_form(tag) not in known)]
        elif name == "attributes":
            values[name] = {**values["attributes"], **given}
        else:
            values[name] = given
    if values == dict(current):
        return None
    try:
        return AddressInput.model_validate(values)
    except ValidationError as error:
        return reasons_of(error)
