"""Rows of cells out of a file, in constant memory where the format lets it, and within bounds in any case."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import orjson

from elink_app import confined
from elink_app.messages import N_, Message
from elink_app.transfer.detect import Encoding, Separator

# A form names every column, with some fields beside them: see web.forms.MAX_FIELDS.
MAX_COLUMNS = 150
MAX_CELL = 10_000
MAX_ROWS = 1_000_000
# A workbook is read whole: these keep what it unpacks to within the memory of a worker.
MAX_UNPACKED = 150 << 20
MAX_RATIO = 200
_READER = "elink_app.transfer.workbook_reader"
_TOO_LARGE = N_("The workbook is too large. Save it as CSV.")
_CSV_FIELD = 1 << 20
_MAX_LINE = 2 << 20


class BadTable(ValueError):
    """The file cannot be read as a table. The message says why and what to do."""

    def __init__(self, msgid: str, **params: object) -> None:
        super().__init__(msgid)
        self.message = Message(msgid, params)


@dataclass(frozen=True)
class Layout:
    """How a file is to be read; `encoding` and `separator` mean nothing for a workbook."""

    workbook: bool
    encoding: Encoding = Encoding.UTF8
    separator: Separator = Separator.COMMA


def is_workbook(path: Path) -> bool:
    """True for an XLSX file, whatever its name."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_rows(path: Path, layout: Layout) -> Iterator[list[str]]:
    """Rows that hold anything, cells without outer spaces. Raises BadTable or OSError."""
    with open_table(path, layout) as file:
        yield from rows_of(file, layout)


def open_table(path: Path, layout: Layout) -> BinaryIO:
    """What `rows_of` reads; of a workbook its rows, unpacked. Raises BadTable or OSError. Blocks: for threads."""
    return _unpacked(path) if layout.workbook else path.open("rb")


def rows_of(file: BinaryIO, layout: Layout) -> Iterator[list[str]]:
    """Rows that hold anything, cells without outer spaces. Raises BadTable."""
    rows = _workbook(file) if layout.workbook else _text(file, layout)
    for number, row in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise BadTable(N_("The file has more than %(rows)d rows. Divide it."), rows=MAX_ROWS)
        if len(row) > MAX_COLUMNS:
            raise BadTable(
                N_("Row %(number)d has %(columns)d columns, and %(most)d are possible. Is the separator right?"),
                number=number,
                columns=len(row),
                most=MAX_COLUMNS,
            )
        if any(row):
            yield row


def _text(file: BinaryIO, layout: Layout) -> Iterator[list[str]]:
    csv.field_size_limit(_CSV_FIELD)
    text = io.TextIOWrapper(file, encoding=layout.encoding.value, errors="strict", newline="")
    try:
        for row in csv.reader(_lines(text), delimiter=layout.separator.value):
            yield [cell.strip()[:MAX_CELL] for cell in row]
    except UnicodeError as error:
        raise BadTable(N_("The file does not have this encoding. Choose another one.")) from error
    except csv.Error as error:
        raise BadTable(N_("The file cannot be read as a table. Is a quotation mark missing?")) from error


def _lines(file: TextIO) -> Iterator[str]:
    """The lines; one that goes on and on would be held in memory whole."""
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise csv.Error("line too long")
        yield line


def _unpacked(path: Path) -> BinaryIO:
    """A file without a name: the process that understands workbooks is gone when the rows are read."""
    _refuse_bombs(path)
    # Beside the workbook: /tmp is small.
    rows = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - the caller closes it
    try:
        confined.run(_READER, [str(path)], b"", rows)
    except confined.ConfinedError as error:
        rows.close()
        raise BadTable(_TOO_LARGE) from error
    rows.seek(0)
    return rows


def _workbook(file: BinaryIO) -> Iterator[list[str]]:
    for line in file:
        row = orjson.loads(line)
        if row is None:
            raise BadTable(N_("The workbook cannot be read. Save it again as .xlsx, or as CSV."))
        yield row


def _refuse_bombs(path: Path) -> None:
    """Look into the archive's directory before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [(item.file_size, item.compress_size) for item in archive.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BadTable(N_("The workbook is damaged. Save it again.")) from error
    unpacked = sum(size for size, _ in sizes)
    if unpacked > MAX_UNPACKED or len(sizes) > 2000:
        raise BadTable(_TOO_LARGE)
    if any(size > (1 << 20) and size > MAX_RATIO * max(packed, 1) for size, packed in sizes):
        raise BadTable(N_("The workbook is packed in an unusual way. Save it again, or as CSV."))
