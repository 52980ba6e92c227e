"""Reading reports, from honest and from hostile senders."""

from __future__ import annotations

import time

import pytest
from elink_app.mail.reports import Report, ReportKind, read_report
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tenant_app.mail.reports import AWAY, complaint, dsn


@pytest.mark.parametrize(
    ("data", "kind", "hard"),
    [
        (dsn(), ReportKind.FAILED, True),
        (dsn(status="5.2.1"), ReportKind.FAILED, True),
        (dsn(status="5.2.2", words="smtp; 552 5.2.2 full"), ReportKind.FAILED, False),
        (dsn(status="5.7.1"), ReportKind.FAILED, False),
        (dsn(status="4.4.7", words="smtp; expired"), ReportKind.FAILED, False),
        (dsn("Delayed", "4.4.1"), ReportKind.DELAYED, False),
        (dsn("delivered", "2.0.0"), ReportKind.DELIVERED, False),
        (dsn("relayed (to mx)", "2.0.0"), ReportKind.DELIVERED, False),
        (complaint(), ReportKind.COMPLAINT, False),
    ],
)
def test_kinds(data: bytes, kind: ReportKind, hard: bool) -> None:
    report = read_report(data)
    assert report is not None
    assert (report.kind, report.hard) == (kind, hard)


def test_words_are_kept_on_one_line() -> None:
    report = read_report(dsn(words="smtp; 550 5.1.1\r\n <to1@there.example>:\r\n\tuser\x00 unknown" + "x" * 900))
    assert report is not None
    assert report.words.startswith("550 5.1.1")
    assert report.words.isprintable()
    assert len(report.words) <= 500


def test_what_is_no_report() -> None:
    for data in (AWAY, b"", b"\r\n", complaint("not-spam"), dsn(action="unheard-of")):
        assert read_report(data) is None


def test_the_gravest_of_several_recipients() -> None:
    data = dsn("delayed", "4.4.1").replace(
        b"--XX\r\nContent-Type: text/rfc822-headers",
        b"\r\nFinal-Recipient: rfc822; other@x\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        b"--XX\r\nContent-Type: text/rfc822-headers",
    )
    report = read_report(data)
    assert report == Report(ReportKind.FAILED, "5.1.1", "5.1.1")


HOSTILE = {
    "deep": b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(3000)),
    "deep-rfc822": b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    "many-parts": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 20000,
    "many-headers": b"X: y\r\n" * 100_000,
    "long-header": b"Content-Type: " + b"a;" * 200_000 + b"\r\n\r\n",
    "parameters": b"Content-Type: multipart/report" + b"".join(b"; a*%d*=%%ff" % n for n in range(5000)) + b"\r\n\r\n",
    "charset": dsn().replace(b"utf-8", b"no-such-charset"),
    "binary": bytes(range(256)) * 1000,
    "status-is-text": dsn().replace(b"Final-Recipient", b"\r\n\r\n\xff\xfe\r\n:::\r\nFinal-Recipient"),
    "encoded-words": dsn(words="=?utf-8?B?" + "A" * 100_000 + "?="),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mime_ends_soon_and_never_raises(name: str) -> None:
    begun = time.process_time()
    report = read_report(HOSTILE[name])
    assert time.process_time() - begun < 5
    assert report is None or report.words.isprintable()


@settings(max_examples=150)
@given(st.binary(max_size=400), st.integers(0, 800))
def test_damaged_reports(noise: bytes, at: int) -> None:
    for data in (noise, dsn()[:at] + noise + dsn()[at + 5 :], complaint()[:at] + noise):
        read_report(data)
