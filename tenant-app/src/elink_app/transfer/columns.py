"""Which column of a file is which field of an address, and a row of cells as input for the address book. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from elink_app.addresses.schemas import AddressInput
from elink_app.messages import N_, Message
from elink_app.spreadsheet import without_guard
from elink_app.text import search_form
from elink_app.validation import message_for


class Target(StrEnum):
    """What a column can go to. Several columns may go to the same: they are joined in their order."""

    NONE = ""
    NAME = "name"
    KANA = "kana"
    COMPANY = "company"
    EMAIL = "emails"
    PHONE = "phone"
    POSTAL_CODE = "postal_code"
    POSTAL_ADDRESS = "postal_address"
    NOTES = "notes"
    TAGS = "tags"
    # Not a field of an address: see transfer.consents.
    CONSENT = "consent"


TITLES: Mapping[Target, str] = {
    Target.NONE: N_("Leave out"),
    Target.NAME: N_("Name"),
    Target.KANA: N_("Reading"),
    Target.COMPANY: N_("Company"),
    Target.EMAIL: N_("E-mail"),
    Target.PHONE: N_("Phone"),
    Target.POSTAL_CODE: N_("Postal code"),
    Target.POSTAL_ADDRESS: N_("Postal address"),
    Target.NOTES: N_("Notes"),
    Target.TAGS: N_("Tags"),
    Target.CONSENT: N_("Consent to adverts (yes counts, anything else does not)"),
}

_HEADINGS: Mapping[Target, str] = {
    Target.NAME: "名前 氏名 お名前 姓 名 姓名 宛名 担当者 担当者名 苗字 name fullname lastname firstname "
    "surname familyname givenname",
    Target.KANA: "フリガナ ふりがな 読み 読み仮名 よみがな カナ 氏名カナ 名前カナ セイ メイ 姓カナ 名カナ kana reading "
    "furigana lastnamekana firstnamekana phoneticname",
    Target.COMPANY: "会社 会社名 勤務先 法人名 企業名 団体名 組織 所属 店舗名 company companyname "
    "organization organisation",
    Target.EMAIL: "メール メールアドレス eメール email mail mailaddress emailaddress アドレス 電子メール e-mail",
    Target.PHONE: "電話 電話番号 tel 携帯 携帯電話 携帯番号 phone phonenumber telephone mobile",
    Target.POSTAL_CODE: "郵便番号 〒 郵便 zip zipcode postalcode postcode",
    Target.POSTAL_ADDRESS: "住所 所在地 都道府県 市区町村 番地 建物名 建物 住所1 住所2 住所3 postaladdress "
    "streetaddress prefecture city street building",
    Target.NOTES: "備考 メモ 備考欄 コメント note notes memo remarks comment",
    Target.TAGS: "タグ ラベル 分類 区分 グループ tag tags category group",
}
# What counts as a consent in a column of them.
_YES = frozenset({"yes", "true", "1", "y", "はい", "有", "あり", "○", "〇", "同意", "同意する", "同意済", "同意済み"})
REASON_HEADING = N_("Reason for refusal")
REASON_HEADINGS = frozenset({REASON_HEADING, "取り込めない理由"})
_NUMBER = re.compile(r"[0-9]+\Z")
_TAG_BREAK = re.compile("[,、;\n]")
_JOINED: Mapping[str, str] = {Target.NAME: " ", Target.KANA: " ", Target.POSTAL_ADDRESS: " ", Target.NOTES: "\n"}

_REASONS: Mapping[str, str] = {
    "limit": N_("The plan's number of addresses is used up."),
    "no_name": N_("There is neither a name nor a company nor an e-mail."),
    "too_many_cells": N_("The row has more cells than the heading. Is a separator inside a cell without quotes?"),
}


def _plain(heading: str) -> str:
    return re.sub(r"[\s_()（）・:：*※-]", "", search_form(heading))


_KNOWN: Mapping[str, Target] = {_plain(word): target for target, words in _HEADINGS.items() for word in words.split()}


def guess(heading: Sequence[str], attributes: Mapping[str, str] | None = None) -> list[Column]:
    """A target for each heading, by its words; a number at the end does not count.

    `attributes`: the labels of the tenant's own fields by key.
    """
    own = {_plain(label): ATTRIBUTE + key for key, label in (attributes or {}).items()}
    plain = [_plain(cell) for cell in heading]
    return [own.get(cell) or _KNOWN.get(cell) or _KNOWN.get(_NUMBER.sub("", cell)) or Target.NONE for cell in plain]


def guess_by_content(rows: Sequence[Sequence[str]]) -> list[Column]:
    """For a file without a heading: the column with e-mails, and the first other one as the name."""
    width = max(map(len, rows), default=0)
    filled = [[row[n] for row in rows if n < len(row) and row[n]] for n in range(width)]
    mails = [bool(cells) and all("@" in cell for cell in cells) for cells in filled]
    targets: list[Column] = [Target.EMAIL if is_mail else Target.NONE for is_mail in mails]
    for position, cells in enumerate(filled):
        if cells and targets[position] == Target.NONE:
            targets[position] = Target.NAME
            break
    return targets


def heading_key(heading: Sequence[str]) -> str:
    """Under what the understanding of a heading is remembered."""
    return hashlib.sha256("\x1f".join(heading).encode()).hexdigest()


# Field, code, parameters of the sentence.
Column = str
"""A Target, or ATTRIBUTE and the key of one of the tenant's own fields."""

ATTRIBUTE = "attribute:"
COLUMN_PATTERN = rf"^({'|'.join(Target)}|{ATTRIBUTE}[a-z0-9_]{{1,40}})$"

Reason = tuple[str, str, Mapping[str, Any]]


def sentence(reason: Sequence[Any]) -> tuple[str, Message]:
    """A reason of a refused row: the title of the field and the sentence, both msgids."""
    field, code, context = reason
    text = _REASONS.get(code)
    title = TITLES.get(Target(field), "") if field in set(Target) else field
    return title, Message(text, dict(context)) if text else message_for(code, context)


class Columns:
    """Where in a row the cells for each field are, found out once for all rows of a file."""

    def __init__(self, columns: Sequence[Column]) -> None:
        at: dict[str, list[int]] = {}
        for position, target in enumerate(columns):
            if target:
                at.setdefault(target, []).append(position)
        self._width = len(columns)
        self._consents = at.pop(Target.CONSENT, [])
        self._emails = at.pop(Target.EMAIL, [])
        self._tags = at.pop(Target.TAGS, [])
        own = {target: at.pop(target) for target in list(at) if target.startswith(ATTRIBUTE)}
        self._attributes = [(target.removeprefix(ATTRIBUTE), positions) for target, positions in own.items()]
        self._texts = [(str(target), positions, _JOINED.get(target)) for target, positions in at.items()]

    def collect(self, row: Sequence[str]) -> dict[str, Any]:
        """The cells of a row by field; fields without content are missing."""
        if len(row) < self._width:
            row = [*row, *[""] * (self._width - len(row))]
        if "'" in "".join(row):
            row = [without_guard(cell) for cell in row]
        values: dict[str, Any] = {}
        for name, positions, joint in self._texts:
            cells = [row[position] for position in positions if row[position]]
            if cells:
                values[name] = cells[0] if joint is None else joint.join(cells)
        if emails := [row[position] for position in self._emails if row[position]]:
            values["emails"] = list(dict.fromkeys(part for cell in emails for part in cell.split()))
        if tags := [row[position] for position in self._tags if row[position]]:
            values["tags"] = [tag for cell in tags for part in _TAG_BREAK.split(cell) if (tag := part.strip())]
        if self._attributes:
            own = {
                key: cells[0]
                for key, positions in self._attributes
                if (cells := [row[position] for position in positions if row[position]])
            }
            values |= {"attributes": own} if own else {}
        return values

    def to_input(self, row: Sequence[str]) -> tuple[AddressInput, frozenset[str]] | list[Reason]:
        """A row for the address book with the names of the fields that it fills, or why it cannot be taken."""
        if len(row) > self._width and any(row[self._width :]):
            return [("", "too_many_cells", {})]
        values = self.collect(row)
        filled = frozenset(values)
        if "name" not in values:
            # A list of customers or of bare e-mails: what is there stands for the name.
            stand_in = values.get("company") or next(iter(values.get("emails", [])), "")
            if not stand_in:
                return [("name", "no_name", {})]
            values["name"] = stand_in[:100]
        # Else the model copies its own empty ones deeply, for each row.
        values = {"emails": [], "tags": [], "attributes": {}} | values
        try:
            return AddressInput.model_validate(values), filled
        except ValidationError as error:
            return reasons_of(error)

    def consents(self, row: Sequence[str]) -> bool:
        """True when every consent column that the row has says yes, and there is one."""
        said = [row[position] for position in self._consents if position < len(row)]
        plain = [unicodedata.normalize("NFKC", without_guard(cell)).strip().lower() for cell in said]
        return bool(plain) and all(word in _YES for word in plain)


def reasons_of(error: ValidationError) -> list[Reason]:
    """What is wrong with a row."""
    return [
        (str(wrong["loc"][0]) if wrong["loc"] else "", wrong["type"], _context(wrong.get("ctx")))
        for wrong in error.errors(include_url=False, include_input=False)
    ]


def _context(context: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (context or {}).items() if isinstance(value, int | str)}
