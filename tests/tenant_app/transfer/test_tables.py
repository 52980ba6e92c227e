"""Files as people have them and as attackers make them. No database."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import xlsxwriter
from elink_app.spreadsheet import FORMULA_STARTS, with_guard, without_guard
from elink_app.transfer.detect import Encoding, Separator, detect
from elink_app.transfer.tables import MAX_COLUMNS, BadTable, Layout, is_workbook, read_rows
from hypothesis import given
from hypothesis import strategies as st

TEXT = "氏名,メール\r\n髙橋 ㈱,a@x.jp\r\nカタカナ,b@x.jp\r\n"


CODECS = [("utf-8", "utf-8-sig"), ("utf-8-sig", "utf-8-sig"), ("cp932", "cp932"), ("utf-16", "utf-16")]


@pytest.mark.parametrize(("codec", "found"), CODECS)
def test_encodings_are_found(tmp_path: Path, codec: str, found: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(TEXT.encode(codec))
    guess = detect(path)
    assert (guess.encoding, guess.separator) == (found, Separator.COMMA)
    assert list(read_rows(path, Layout(False, guess.encoding or Encoding.UTF8)))[1] == ["髙橋 ㈱", "a@x.jp"]


def test_lies_and_floods_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"\xff\xfe\xff", b"a,b\n\x81\x00", b"x" * (3 << 20), b'"' + b"y\n" * (1 << 20), b"," * 10_000):
        path.write_bytes(content)
        with pytest.raises(BadTable):
            list(read_rows(path, Layout(False, Encoding.UTF8)))
    path.write_bytes(b"," * (MAX_COLUMNS - 1) + b"x")
    assert len(next(read_rows(path, Layout(False)))) == MAX_COLUMNS


def test_workbooks_and_bombs(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with xlsxwriter.Workbook(path) as book:
        book.add_worksheet().write_row(0, 0, ["山田", 12.0, "=1+1 as text"[1:], True])
    assert is_workbook(path)
    assert list(read_rows(path, Layout(True))) == [["山田", "12", "1+1 as text", "はい"]]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * (20 << 20))
    with pytest.raises(BadTable):
        list(read_rows(path, Layout(True)))
    path.write_bytes(b"PK\x03\x04junk")
    with pytest.raises(BadTable):
        list(read_rows(path, Layout(True)))


@given(st.text(alphabet="'=+-@\t\r\n|%＝＠ a1", max_size=6))
def test_the_guard_is_taken_off_as_it_was_put_on(cell: str) -> None:
    guarded = with_guard(cell)
    assert without_guard(guarded) == cell
    assert not guarded.lstrip(" ").startswith(FORMULA_STARTS)
