"""Reports as mail systems write them."""

from __future__ import annotations


def dsn(action: str = "failed", status: str = "5.1.1", words: str = "smtp; 550 5.1.1 User unknown") -> bytes:
    """A delivery status notification of one recipient."""
    return f"""From: MAILER-DAEMON@mx.example
To: b-x@bounce.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="XX"

--XX
Content-Type: text/plain; charset=utf-8

配信できませんでした。

--XX
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
Arrival-Date: Tue, 24 Nov 2026 18:00:00 +0900

Final-Recipient: rfc822; to1@there.example
Action: {action}
Status: {status}
Diagnostic-Code: {words}

--XX
Content-Type: text/rfc822-headers

Subject: original

--XX--
""".replace("\n", "\r\n").encode()


def complaint(kind: str = "abuse") -> bytes:
    """A complaint in the Abuse Reporting Format."""
    return f"""From: fbl@provider.example
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="YY"

--YY
Content-Type: text/plain

This is a report.

--YY
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: provider/1.0
Version: 1

--YY
Content-Type: message/rfc822

Subject: original

text
--YY--
""".replace("\n", "\r\n").encode()


AWAY = b"""From: somebody@there.example\r
Subject: Away\r
Auto-Submitted: auto-replied\r
Content-Type: text/plain\r
\r
I am away. Action: failed\r
Status: 5.1.1\r
"""
