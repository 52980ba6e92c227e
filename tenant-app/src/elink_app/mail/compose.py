"""Mails of one delivery: compiled once, then made for each recipient by filling in what differs."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from elink_app.clock import JST
from elink_app.mail.address import mailbox
from elink_app.mail.base64_parts import Base64Template, Hole
from elink_app.mail.dkim import Header, Signer
from elink_app.mail.headers import named_mailbox, unstructured
from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD, Placeholder, parse
from elink_app.mail.smtp import Mail, make_mail
from elink_app.mail.tokens import RecipientIds, bounce_local_part, message_id, tenant_mark, unsubscribe_token

_BREAKS = re.compile(r"\r\n|\r|\n")
_REFUSED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Content:
    """What is the same for all: final sources with placeholders. `fields` names the recipients' slots, in order."""

    subject: str
    text: str
    html: str
    from_address: str
    from_name: str = ""
    reply_to: str = ""
    fields: tuple[str, ...] = ()
    # Adverts: the headers of RFC 8058, by which mail programs offer to unsubscribe.
    one_click: bool = True


@dataclass(frozen=True)
class Origin:
    """Who sends. `base_url` is the tenant's own (`https://host[:port]`); `frozen` tells deliveries of one id apart.

    Without `bounce_domain` bounces go to the sender's own mailbox.
    """

    uid: str
    secret: bytes = field(repr=False)
    base_url: str
    bounce_domain: str = ""
    frozen: str = ""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One row. `slots` are the values of `Content.fields`."""

    id: int
    email: str
    slots: Sequence[str]


@dataclass(frozen=True, slots=True)
class Message:
    """A mail before it is signed."""

    recipient: Recipient
    sender: str
    headers: tuple[Header, ...]
    body: bytes

    def mail(self, signer: Signer | None = None) -> Mail:
        """The mail for the wire, signed; takes about a millisecond with a signer, most of it without the GIL."""
        lines = [name + b": " + value for name, value in self.headers]
        if signer is not None:
            lines.insert(0, b"DKIM-Signature: " + signer.sign(self.headers, self.body))
        lines.append(b"\r\n")
        return make_mail(self.recipient.id, self.sender, self.recipient.email, b"\r\n".join(lines), self.body)


def unsubscribe_url(base_url: str, token: str) -> str:
    """Where an unsubscribe link leads."""
    return f"{base_url}/unsubscribe/{token}"


class Composer:
    """Raises PlaceholderError or BadMailbox at once when the content cannot be sent, KeyError for an unknown field."""

    def __init__(self, delivery_id: int, content: Content, origin: Origin) -> None:
        self._delivery_id = delivery_id
        self._origin = origin
        self._mark = tenant_mark(origin.uid)
        self._from = mailbox(content.from_address)
        self._domain = content.from_address.rpartition("@")[2]
        self._one_click = content.one_click
        self._index = {name: number for number, name in enumerate((*content.fields, UNSUBSCRIBE_FIELD))}
        self._subject = self._pieces(content.subject, str)
        self._fixed_subject = None if any(isinstance(p, Placeholder) for p in self._subject) else self._subject_of(())
        self._start = (
            (b"From", named_mailbox(content.from_name, content.from_address)),
            *([(b"Reply-To", mailbox(content.reply_to).encode("ascii"))] if content.reply_to else []),
        )
        # Cannot occur in base 64, and does not tell one delivery's mail from another attempt at it.
        self._boundary = b"=_" + hashlib.sha256(f"{origin.uid}/{delivery_id}".encode()).hexdigest()[:24].encode()
        self._parts = [
            (subtype, escape, Base64Template(self._holes(source, escape)))
            for subtype, source, escape in ((b"plain", content.text, str), (b"html", content.html, html.escape))
            if source
        ]

    def compose(self, recipient: Recipient, date: datetime) -> Message:
        """The message for one recipient. Raises BadMailbox when its address cannot stand in a header."""
        ids = RecipientIds(self._delivery_id, recipient.id)
        origin = self._origin
        link = unsubscribe_url(origin.base_url, unsubscribe_token(origin.secret, ids))
        values = [*recipient.slots, link]
        headers: list[Header] = [
            *self._start,
            (b"To", mailbox(recipient.email).encode("ascii")),
            (b"Subject", self._fixed_subject if self._fixed_subject is not None else self._subject_of(values)),
            (b"Date", _date(date)),
            (b"Message-ID", message_id(origin.secret, ids, origin.frozen, self._domain).encode("ascii")),
            (b"MIME-Version", b"1.0"),
        ]
        if self._one_click:
            headers.append((b"List-Unsubscribe", f"<{link}>".encode("ascii")))
            headers.append((b"List-Unsubscribe-Post", b"List-Unsubscribe=One-Click"))
        structure, body = self._body(values)
        sender = self._from
        if origin.bounce_domain:
            sender = f"{bounce_local_part(origin.secret, self._mark, ids)}@{origin.bounce_domain}"
        return Message(recipient, sender, (*headers, *structure), body)

    def _body(self, values: Sequence[str]) -> tuple[list[Header], bytes]:
        plain = [_plain(value) for value in values]
        rendered = [
            (subtype, template.render([escape(value).encode() for value in plain]))
            for subtype, escape, template in self._parts
        ]
        if len(rendered) == 1:
            subtype, body = rendered[0]
            kind = b"text/" + subtype + b"; charset=utf-8"
            return [(b"Content-Type", kind), (b"Content-Transfer-Encoding", b"base64")], body
        out = []
        for subtype, body in rendered:
            out += [
                b"--" + self._boundary + b"\r\nContent-Type: text/" + subtype,
                b"; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n",
                body,
            ]
        out.append(b"--" + self._boundary + b"--\r\n")
        return [(b"Content-Type", b'multipart/alternative; boundary="' + self._boundary + b'"')], b"".join(out)

    def _pieces(self, source: str, clean: Callable[[str], str]) -> list[str | Placeholder]:
        pieces = parse(source)
        for piece in pieces:
            if isinstance(piece, Placeholder) and piece.name not in self._index:
                raise KeyError(piece.name)
        return [clean(piece) if isinstance(piece, str) else piece for piece in pieces]

    def _holes(self, source: str, escape: Callable[[str], str]) -> list[bytes | Hole]:
        return [
            Hole(self._index[piece.name], escape(_plain(piece.default)).encode())
            if isinstance(piece, Placeholder)
            else piece.encode()
            for piece in self._pieces(source, _plain)
        ]

    def _subject_of(self, values: Sequence[str]) -> bytes:
        return unstructured(
            "".join(
                (values[self._index[piece.name]] or piece.default) if isinstance(piece, Placeholder) else piece
                for piece in self._subject
            )
        )


@lru_cache(maxsize=8)
def _date(moment: datetime) -> bytes:
    """A batch has one date."""
    return format_datetime(moment.astimezone(JST)).encode("ascii")


def _plain(value: str) -> str:
    """Lines end with CRLF, the canonical form of text in MIME; other control characters go."""
    if value.isprintable():
        return value
    return _BREAKS.sub("\r\n", _REFUSED.sub("", value))
