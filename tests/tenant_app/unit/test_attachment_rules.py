"""What files of mails may be called, and what they may be."""

from __future__ import annotations

import unicodedata

import pytest
from elink_app.attachments.rules import ENDINGS, MAX_NAME, check_content, clean_name, media_type_of

PDF = b"%PDF-1.7\n..."
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)

KEPT = {
    "お見積書 2026年4月.pdf": "お見積書 2026年4月.pdf",
    # As macOS sends it: taken apart.
    unicodedata.normalize("NFD", "ガイド.pdf"): "ガイド.pdf",
    "見積　書.pdf": "見積　書.pdf",
    "Screenshot 3.45\u202fPM.png": "Screenshot 3.45 PM.png",
    "  x.pdf  ": "x.pdf",
    "x.pdf. .": "x.pdf",
    "㈱髙﨑①.xlsx": "㈱髙﨑①.xlsx",
    "辻\U000e0100.pdf": "辻\U000e0100.pdf",
    "a;b=c,d'e%0d%0a.pdf": "a;b=c,d'e%0d%0a.pdf",
    "console.pdf": "console.pdf",
    "あ" * (MAX_NAME - 4) + ".pdf": "あ" * (MAX_NAME - 4) + ".pdf",
}
REFUSED = [
    "", " ", ".", "..", "...", "../x.pdf", "..\\x.pdf", "/etc/x.pdf", "C:\\x.pdf", "a/b.pdf", "x:y.pdf", ".pdf",
    ".htaccess", "x\0.pdf", "x\r\nBcc: a@b.pdf", "x\n.pdf", "x\x85.pdf", "x\u2028.pdf", "x\x1b[2J.pdf", 'x".pdf',
    "x<y>.pdf", "x|y.pdf", "x?.pdf", "x*.pdf", "con.pdf", "NUL", "Aux.tar.pdf", "lpt1.pdf", "com¹.pdf", "x\ufffd.pdf",
    # Reads as x exe.pdf, and is none; and what nobody can see.
    "x\u202efdp.exe", "x\u202e.pdf", "x\u2066.pdf", "x\u200b.pdf", "x\ufeff.pdf", "x\u00ad.pdf", "x\ue000.pdf",
    "x\ud800.pdf", "あ" * MAX_NAME + ".pdf",
]  # fmt: skip


@pytest.mark.parametrize("given", KEPT)
def test_names_that_are_kept(given: str) -> None:
    assert clean_name(given) == KEPT[given]
    assert len(KEPT[given].encode()) <= 255


@pytest.mark.parametrize("given", REFUSED)
def test_names_that_are_refused(given: str) -> None:
    assert clean_name(given) is None


def codes(name: str, content: bytes) -> list[str]:
    return [error.code for error in check_content(name, content)]


def test_only_kinds_of_our_own_list() -> None:
    for ending in ("exe", "js", "vbs", "bat", "cmd", "scr", "lnk", "iso", "hta", "docm", "xlsm", "pptm", "doc", "xls",
                   "zip", "lzh", "7z", "html", "svg", "eml", "pdf.exe", "", "pdf\u3002", "ｐｄｆ"):  # fmt: skip
        assert codes(f"x.{ending}", PDF) == ["attachment_kind"], ending
        assert media_type_of(f"x.{ending}") is None
    assert codes("pdf", PDF) == ["attachment_kind"]
    assert codes("請求書.PDF", PDF) == []
    assert media_type_of("請求書.PDF") == "application/pdf"
    assert all(media_type_of(f"x.{ending}") for ending in ENDINGS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.pdf", b"\n" + PDF),
        ("x.docx", b"PK\x03\x04..."),
        ("x.png", b"\x89PNG\r\n\x1a\n"),
        ("x.jpeg", b"\xff\xd8\xff\xe0"),
        ("x.webp", b"RIFF....WEBPVP8 "),
        ("x.csv", "氏名\r\n".encode("cp932")),
        ("x.txt", b"\xff\xfe" + "メモ".encode("utf-16-le")),
        ("x.ics", b"BEGIN:VCALENDAR\r\n"),
    ],
)
def test_contents_that_fit_their_names(name: str, content: bytes) -> None:
    assert codes(name, content) == []
    assert codes(name, b"") == ["attachment_empty"]
    assert codes(name, b"MZ\x90\x00\x03\x00\x00\x00") == ["attachment_content"]
    # A workbook of the old kind, or one with a password.
    assert codes(name, OLE) == ["attachment_content"]
