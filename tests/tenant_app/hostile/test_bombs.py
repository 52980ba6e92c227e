"""Workbooks that are small and become large: refused with a sentence, and nothing of it happens in this process."""

from __future__ import annotations

import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from elink_app.transfer.tables import BadTable, Layout, read_rows
from elink_app.transfer.workbook import _HEAD, _MAIN, _PARTS

_CORNER = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
_LAUGHS = '<!DOCTYPE x [<!ENTITY a "haha">{}]>'.format(
    "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefg", "bcdefgh", strict=True))
)


def book(path: Path, rows: str, shared: str = "", *, head: str = "", sheets: int = 1) -> None:
    """A workbook with these rows and shared texts, as XML."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _PARTS.items():
            many = "".join(f'<sheet name="s{n}" sheetId="{n}" r:id="rId1"/>' for n in range(1, sheets + 1))
            archive.writestr(name, _HEAD + text.replace('<sheet name="elink" sheetId="1" r:id="rId1"/>', many))
        sheet = f'{_HEAD}{head}<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
        if shared:
            archive.writestr("xl/sharedStrings.xml", f'{_HEAD}<sst xmlns="{_MAIN}">{shared}</sst>')


def corner(path: Path) -> None:
    book(path, _CORNER)


def one_text_many_times(path: Path) -> None:
    # Random enough not to be told by its ratio: the harm is in how often it is named.
    text = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(30_000))
    book(path, "".join("<row>" + '<c t="s"><v>0</v></c>' * 100 + f"<!--{n * 7919}--></row>" for n in range(900)),
         f"<si><t>{text}</t></si>")  # fmt: skip


def wide_and_long(path: Path) -> None:
    book(path, "<row>" + "<c><v>1</v></c>" * 16_000 + "</row>" + "<row><c><v>1</v></c></row>" * 16_000)


def laughs(path: Path) -> None:
    book(path, '<row><c t="inlineStr"><is><t>&h;</t></is></c></row>', head=_LAUGHS)


def ratio(path: Path) -> None:
    book(path, "<row/>" * (4 << 20))


def million_sheets(path: Path) -> None:
    book(path, "<row/>", sheets=400_000)


def lie(path: Path) -> None:
    """200 MB that the archive's directory calls 100 bytes."""
    book(path, "")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            with archive.open(name, "w") as part:
                for _ in range(200 if "sheet1" in name else 0):
                    part.write(b" " * (1 << 20))
                part.write(content)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"xl/worksheets/sheet1.xml", raw.index(b"PK\x01\x02"))
    struct.pack_into("<I", raw, at - 46 + 24, 100)
    path.write_bytes(bytes(raw))


def nested(path: Path) -> None:
    inner = path.with_suffix(".inner")
    ratio(inner)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "xl/workbook.xml")


@pytest.mark.parametrize(
    "made", [corner, one_text_many_times, wide_and_long, laughs, ratio, million_sheets, lie, nested]
)
def test_small_workbooks_that_become_large(tmp_path: Path, made: Callable[[Path], None]) -> None:
    path = tmp_path / "f.xlsx"
    made(path)
    assert path.stat().st_size < 4 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        rows = [len("".join(row)) for row in read_rows(path, Layout(True))]
    except BadTable:
        rows = []
    # Refused, or read for what it is and not for what it names.
    assert sum(rows) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert {one.suffix for one in tmp_path.iterdir()} <= {".xlsx", ".inner"}


def test_the_far_corner_was_a_crash(tmp_path: Path) -> None:
    """The one that would bring the process down: a refusal, not a row."""
    path = tmp_path / "f.xlsx"
    corner(path)
    with pytest.raises(BadTable, match="too large"):
        list(read_rows(path, Layout(True)))
