"""Which encoding and which separator a table in a text file has. The person sees the answer and can correct it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_CHUNK = 1 << 20
_SAMPLE = 64 * 1024
_SAMPLE_ROWS = 20
_HALF_WIDTH = re.compile("[\uff61-\uff9f]")


class Encoding(StrEnum):
    """Encodings of Japanese tables; the values are Python's codecs."""

    UTF8 = "utf-8-sig"
    UTF16 = "utf-16"
    CP932 = "cp932"
    EUC_JP = "euc_jp"


class Separator(StrEnum):
    """What stands between two cells."""

    COMMA = ","
    TAB = "\t"
    SEMICOLON = ";"


@dataclass(frozen=True)
class Guess:
    """`encoding` is None when no encoding reads the whole file without an error."""

    encoding: Encoding | None
    separator: Separator


def detect(path: Path) -> Guess:
    """Look at the whole file: an encoding counts only when every byte of it fits."""
    encoding = _encoding(path)
    sample = path.read_bytes()[:_SAMPLE] if path.stat().st_size <= _SAMPLE else _head(path)
    return Guess(encoding, sniff_separator(_decode_sample(sample, encoding or Encoding.CP932)))


def _encoding(path: Path) -> Encoding | None:
    start = _head(path)[:4]
    if start.startswith(codecs.BOM_UTF8):
        return Encoding.UTF8 if _oddness(path, Encoding.UTF8) is not None else None
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Encoding.UTF16 if _oddness(path, Encoding.UTF16) is not None else None
    if _oddness(path, Encoding.UTF8) is not None:
        return Encoding.UTF8
    # Text in one of these two often decodes as the other, as half-width katakana: the reading with fewer wins.
    oddness = {one: _oddness(path, one) for one in (Encoding.CP932, Encoding.EUC_JP)}
    fitting = {one: odd for one, odd in oddness.items() if odd is not None}
    return min(fitting, key=lambda one: fitting[one]) if fitting else None


def _oddness(path: Path, encoding: Encoding) -> int | None:
    """How many half-width katakana the file has when read so; None when it cannot be read so."""
    decoder = codecs.getincrementaldecoder(encoding.value)("strict")
    odd = 0
    with path.open("rb") as file:
        try:
            while chunk := file.read(_CHUNK):
                odd += len(_HALF_WIDTH.findall(decoder.decode(chunk)))
            decoder.decode(b"", final=True)
        except UnicodeError:
            return None
    return odd


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SAMPLE)


def _decode_sample(sample: bytes, encoding: Encoding) -> str:
    """The sample as text; a character that its end cuts is left out."""
    return codecs.getincrementaldecoder(encoding.value)("replace").decode(sample)


def sniff_separator(text: str) -> Separator:
    """The separator that gives the most cells, the same number in most rows; a comma when none does."""
    best, best_score = Separator.COMMA, 0.0
    for separator in Separator:
        rows = _rows(text, separator)
        widths = [len(row) for row in rows if row]
        if not widths:
            continue
        usual = max(set(widths), key=widths.count)
        score = (usual - 1) * widths.count(usual) / len(widths)
        if score > best_score:
            best, best_score = separator, score
    return best


def _rows(text: str, separator: Separator) -> Sequence[Sequence[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=separator.value):
            rows.append(row)
            if len(rows) == _SAMPLE_ROWS:
                break
    except csv.Error:
        pass
    return rows
