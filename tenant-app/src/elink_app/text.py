"""Cleaning and normalising of text, Japanese above all. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from operator import add

import jaconv

# Control characters, and those that make text run backwards, hide it, or are no characters.
_REFUSED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_LINE_BREAKS = re.compile("[\t\n\r\u2028\u2029]")

# Variants of one character in family names: whoever searches 高橋 also means 髙橋.
_VARIANTS = str.maketrans("髙﨑濵濱邊邉齋齊斎冨𠮷德", "高崎浜浜辺辺斉斉斉富吉徳")

# One walk over the text for both: case folding makes neither kana nor kanji, and no variant is a kana.
_COMPARED: dict[int, str | int | None] = {
    **_VARIANTS,
    **{code: jaconv.kata2hira(chr(code)) for code in range(0x3000, 0x3100)},
}
_KATAKANA = {code: jaconv.hira2kata(chr(code)) for code in range(0x3000, 0x3100)}

_SMALL_KANA = str.maketrans("ぁぃぅぇぉっゃゅょゎゕゖ", "あいうえおつやゆよわかけ")
_VOICE_MARKS = re.compile("[\u3099\u309a\u309b\u309cー・\\s]")

_KANA = re.compile(r"[ァ-ヺーヽヾ・\sA-Za-z0-9.,'&()-]*\Z")


def has_refused_character(value: str, *, multiline: bool = False) -> bool:
    """True when `value` holds a control or direction character; line breaks count too unless `multiline`."""
    # None of them can be printed, and most text can.
    if value.isprintable():
        return False
    if _REFUSED.search(value):
        return True
    return not multiline and _LINE_BREAKS.search(value) is not None


def unify_line_breaks(value: str) -> str:
    """Browsers send CR LF: keep LF only."""
    return value.replace("\r\n", "\n").replace("\r", "\n")


def to_katakana(value: str) -> str:
    """A reading in full-width katakana, single spaces: `ﾔﾏﾀﾞ　たろう` -> `ヤマダ タロウ`."""
    return " ".join(unicodedata.normalize("NFKC", value).translate(_KATAKANA).split())


def is_kana(value: str) -> bool:
    """True when a reading (after `to_katakana`) holds katakana, Latin letters and digits only."""
    return _KANA.match(value) is not None


def search_form(value: str) -> str:
    """The form in which text is compared: width, case, kana kind, kanji variants and spaces make no difference."""
    if value.isascii():
        return "".join(value.lower().split())
    return "".join(unicodedata.normalize("NFKC", value).casefold().translate(_COMPARED).split())


def search_terms(query: str) -> list[str]:
    """The words of a query in search form; every one must be found. At most eight count."""
    words = (search_form(word) for word in unicodedata.normalize("NFKC", query).split())
    return list(dict.fromkeys(word for word in words if word))[:8]


def pairs(value: str) -> Iterator[str]:
    """The pairs of neighbouring characters."""
    return map(add, value, value[1:])


def grams(value: str) -> list[str]:
    """The pairs of neighbouring characters, each once, sorted: what the search index holds."""
    return sorted(set(pairs(value)))


def kana_sort_key(kana: str, name: str) -> str:
    """A key whose byte order is the order of the fifty sounds: without marks first, marks break ties.

    Without a reading the name stands in for it.
    """
    return sort_key(search_form(kana or name))


def sort_key(full: str) -> str:
    """The same for a text that is in search form already."""
    plain = unicodedata.normalize("NFD", full).translate(_SMALL_KANA)
    return f"{_VOICE_MARKS.sub('', plain)}\x01{full}"
