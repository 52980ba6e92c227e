"""Files in mails: what programs make of them, and names that mean harm."""

from __future__ import annotations

import email
import email.header
import email.policy
import email.utils
import re
from dataclasses import replace

import dkim
import pytest
from elink_app.mail.attachments import encoded_part, part_headers
from elink_app.mail.compose import Composer, Recipient
from elink_app.mail.dkim import Signer, dns_record
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tenant_app.mail.test_compose import CONTENT, NOW, ORIGIN, PEM, PLAIN, compose, parsed, raw

LONG = "株式会社さくら商店　御見積書(第二版)二〇二六年四月一日付・ご確認用.pdf"
NAMES = [
    "plain.pdf",
    "with space (1).pdf",
    "お見積書.pdf",
    LONG,
    "𠮷野家.pdf",
    "a" * 76 + ".pdf",
    "=?utf-8?B?eA==?=.pdf",
    "a'b%41.pdf",
]
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 700


def legacy_name(headers: bytes) -> str:
    """The name as a program reads it that knows encoded words only: from `Content-Type`."""
    found = re.search(rb'name="((?:[^"\\]|\\.)*)"', headers, re.S)
    assert found
    text = re.sub(r"\r\n ", " ", found[1].decode("ascii"))
    return str(email.header.make_header(email.header.decode_header(text)))


@pytest.mark.parametrize("name", NAMES)
def test_both_kinds_of_programs_read_the_name(name: str) -> None:
    part = encoded_part(name, "application/pdf", PDF)
    read = email.message_from_bytes(part)
    assert read.get_content_type() == "application/pdf"
    assert read.get_content_disposition() == "attachment"
    assert email.utils.collapse_rfc2231_value(read.get_param("filename", "", "content-disposition")) == name
    assert read.get_payload(decode=True) == PDF
    head = part.partition(b"\r\n\r\n")[0]
    assert legacy_name(head) == name
    assert head.isascii()
    assert max(map(len, part.split(b"\r\n"))) <= 78


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100))
def test_no_name_begins_a_header(name: str) -> None:
    headers = part_headers(name, "text/plain")
    assert [header for header, _ in headers] == [
        b"Content-Type", b"Content-Transfer-Encoding", b"Content-Disposition",
    ]  # fmt: skip
    for _, value in headers:
        assert value.isascii()
        assert not re.search(rb"\r\n(?! )|(?<!\r)\n|\r(?!\n)", value)


@pytest.mark.parametrize("content", [CONTENT, PLAIN])
def test_a_mail_with_files_is_the_mail_and_the_files(content: object) -> None:
    files = tuple(encoded_part(name, "application/pdf", PDF) for name in (LONG, "b.pdf"))
    plain = parsed(raw(compose(content)))  # type: ignore[arg-type]
    signer = Signer("sakura.example", "s1", PEM)
    data = raw(compose(replace(content, files=files)), signer)  # type: ignore[type-var]
    message = parsed(data)
    assert message.get_content_type() == "multipart/mixed"
    first, *others = message.iter_parts()
    assert first.get_content_type() == plain.get_content_type()
    bodies = [[part.get_content() for part in one.walk() if not part.is_multipart()] for one in (first, plain)]
    assert bodies[0] == bodies[1]
    assert [(part.get_filename(), part.get_content()) for part in others] == [(LONG, PDF), ("b.pdf", PDF)]
    assert [part.get_filename() for part in message.iter_attachments()] == [LONG, "b.pdf"]
    assert message.get_body() is not None
    record = dns_record(PEM).encode()
    assert dkim.verify(data, dnsfunc=lambda *_, **__: record)
    for header in ("From", "Subject", "List-Unsubscribe", "Message-ID"):
        assert message[header] == plain[header]
    boundaries = re.findall(rb'boundary="([^"]+)"', data)
    assert not any(one != other and one.startswith(other) for one in boundaries for other in boundaries)


def test_files_are_one_object_in_all_mails() -> None:
    content = replace(CONTENT, files=(encoded_part("b.pdf", "application/pdf", PDF),))
    composer = Composer(7, content, ORIGIN)
    mails = [composer.compose(Recipient(n, "to@there.example", ("山田", "")), NOW).mail() for n in (1, 2)]
    assert mails[0].pieces[-2] is mails[1].pieces[-2]
    assert len(mails[0].pieces[-2]) > len(PDF)
