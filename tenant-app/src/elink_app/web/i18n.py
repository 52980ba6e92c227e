"""Japanese and English. The msgids are English; `locale/ja/*.po` hold the Japanese, read as they are at start."""

from __future__ import annotations

import gettext
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources

from babel.dates import format_datetime
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from elink_app.clock import JST
from elink_app.messages import Message

LANGUAGES = ("ja", "en")
DEFAULT = "ja"


def merged_catalog(language: str) -> Catalog:
    """All files of a language as one; each domain has its own. A text that two files hold is a ValueError."""
    merged = Catalog(locale=language)
    for file in sorted(resources.files("elink_app.web").joinpath("locale", language).iterdir(), key=lambda f: f.name):
        for message in read_po(io.BytesIO(file.read_bytes()), locale=language):
            if message.id and message.id in merged:
                raise ValueError(f"{file.name}: {message.id!r} is in another file too")
            if message.id:
                merged[message.id] = message
    return merged


@cache
def catalog(language: str) -> gettext.NullTranslations:
    """The translations of a language; English is what the msgids already are."""
    if language == "en":
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, merged_catalog(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


@dataclass(frozen=True)
class Translator:
    """Texts, numbers and times in one language. Times are shown in JST."""

    language: str

    def text(self, message: Message | str) -> str:
        """A message (or a bare msgid) for people to read."""
        if isinstance(message, str):
            return catalog(self.language).gettext(message)
        translated = catalog(self.language).gettext(message.msgid)
        return translated % message.params if message.params else translated

    def number(self, value: int) -> str:
        """With separators of thousands."""
        return format_decimal(value, locale=self.language)

    def moment(self, value: datetime) -> str:
        """Date, time and zone: `2026年4月1日 9:00 JST`."""
        pattern = "y年M月d日 H:mm" if self.language == "ja" else "d MMM y, H:mm"
        return format_datetime(value.astimezone(JST), pattern, locale=self.language) + " JST"


TRANSLATORS = {language: Translator(language) for language in LANGUAGES}


def choose_language(*, cookie: str | None, tenant: str, accept: str | None) -> str:
    """The person's choice, else the tenant's default, else what the browser asks for, else Japanese."""
    for wanted in (cookie, tenant):
        if wanted in LANGUAGES:
            return wanted
    return next((tag for tag in _accepted(accept or "") if tag in LANGUAGES), DEFAULT)


def _accepted(header: str) -> Sequence[str]:
    weighed: list[tuple[float, int, str]] = []
    for position, part in enumerate(header[:500].split(",")):
        tag, _, parameter = part.strip().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if quality > 0:
            weighed.append((-quality, position, tag.lower().partition("-")[0]))
    return [tag for _, _, tag in sorted(weighed)]
