"""Writes a workbook (XLSX) of texts only: rows as XML, piece by piece, and at the end the archive around them.

Every cell is an inline string: a spreadsheet shows it and computes nothing.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from elink_app.spreadsheet import with_guard, without_guard

# XML 1.0 has no way to write these.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# A cell holds no more.
_MOST = 32_767
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_TYPES}">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_RELATIONS}">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
    '<sheets><sheet name="elink" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONS}">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


def sheet_rows(lines: Sequence[Sequence[str]]) -> bytes:
    """Rows of a sheet as XML."""
    return "".join(f"<row>{''.join(map(_cell, line))}</row>" for line in lines).encode()


def pack_workbook(rows: Path, packed: Path) -> None:
    """Make a workbook of a file with rows; what was at `packed` is replaced. Blocks."""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, _HEAD + text)
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
            with rows.open("rb") as file:
                shutil.copyfileobj(file, sheet)
            sheet.write(b"</sheetData></worksheet>")


def _cell(text: str) -> str:
    # Only what an import would take an apostrophe from gets one: strings need no guard.
    kept = text if without_guard(text) == text else with_guard(text)
    plain = escape(_NOT_XML.sub("", kept)[:_MOST]).replace("\r", "&#13;")
    return f'<c t="inlineStr"><is><t xml:space="preserve">{plain}</t></is></c>'
