"""Mails of one delivery: compiled once, then made for each recipient by filling in what differs."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import urlsplit

from elink_app.clock import JST
from elink_app.mail.address import Mailbox, mailbox
from elink_app.mail.attachments import mixed
from elink_app.mail.base64_parts import Base64Template, Hole
from elink_app.mail.dkim import Signer
from elink_app.mail.head import Head, Header
from elink_app.mail.headers import named_mailbox, unstructured
from elink_app.mail.links import Link, with_links
from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD, Placeholder, parse
from elink_app.mail.smtp import Mail, mail_between
from elink_app.mail.tokens import ClickTokens, DeliveryTokens, tenant_mark

_BREAKS = re.compile(r"\r\n|\r|\n")
_HTML = b"html"
_Fixed = tuple[bytes, bytes]
_ONE_CLICK: tuple[Header, ...] = (
    (b"List-Unsubscribe", None),
    (b"List-Unsubscribe-Post", b"List-Unsubscribe=One-Click"),
)
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
    # Counted links: the number of each URL, from 1. Recipients get links of their own in their place.
    links: Mapping[str, int] = field(default_factory=dict)
    # Files as whole parts (`mail.attachments.encoded_part`): encoded once, one object in all mails.
    files: tuple[bytes, ...] = field(default=(), repr=False)


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


@dataclass(slots=True)
class Recipient:
    """One row. `slots` are the values of `Content.fields`."""

    id: int
    email: str
    slots: Sequence[str]


# Not frozen, as the others of a mail: freezing makes each of them several times slower to make.
@dataclass(slots=True)
class Message:
    """A mail before it is signed: what fills its header, and its body in pieces."""

    id: int
    sender: Mailbox
    recipient: Mailbox
    head: Head
    values: tuple[bytes, ...]
    pieces: list[bytes]

    def mail(self, signer: Signer | None = None) -> Mail:
        """The mail for the wire, signed; a signer takes up to a millisecond, most of it without the GIL."""
        head = self.head.filled(self.values)
        if signer is not None:
            head = b"DKIM-Signature: %b\r\n%b" % (signer.sign(self.head, self.values, self.pieces), head)
        return mail_between(self.id, self.sender, self.recipient, head + b"\r\n", *self.pieces)


def unsubscribe_url(base_url: str, token: str) -> str:
    """Where an unsubscribe link leads."""
    return f"{base_url}/unsubscribe/{token}"


def click_url(base_url: str, token: str) -> str:
    """Where a counted link leads first."""
    return f"{base_url}/l/{token}"


class Composer:
    """Raises PlaceholderError or BadMailbox at once when the content cannot be sent, KeyError for an unknown field."""

    def __init__(self, delivery_id: int, content: Content, origin: Origin) -> None:
        self._link = unsubscribe_url(origin.base_url, "")
        self._tokens = tokens = DeliveryTokens(origin.secret, tenant_mark(origin.uid), delivery_id, origin.frozen)
        self._from = mailbox(content.from_address)
        self._bounces_at = f"@{origin.bounce_domain}" if origin.bounce_domain else ""
        if origin.bounce_domain:
            mailbox(tokens.bounce(0) + self._bounces_at)
        self._id_end = "@" + content.from_address.rpartition("@")[2] + ">"
        self._links = content.links
        self._click = click_url(origin.base_url, "")
        host = urlsplit(origin.base_url).hostname or ""
        self._clicks = ClickTokens(origin.secret, origin.uid, host, delivery_id, origin.frozen)
        # Their links stand behind the slots and the unsubscribe link among a recipient's values.
        self._places = {number: len(content.fields) + 1 + at for at, number in enumerate(self._links.values())}
        self._index = {name: number for number, name in enumerate((*content.fields, UNSUBSCRIBE_FIELD))}
        self._subject = parse(content.subject)
        for piece in self._subject:
            if isinstance(piece, Placeholder) and piece.name not in self._index:
                raise KeyError(piece.name)
        self._subject_differs = any(isinstance(piece, Placeholder) for piece in self._subject)
        self._one_click = content.one_click
        # Cannot occur in base 64, and does not tell one delivery's mail from another attempt at it.
        boundary = b"=_" + hashlib.sha256(f"{origin.uid}/{delivery_id}".encode()).hexdigest()[:24].encode()
        sources: list[tuple[bytes, str, Callable[[str], str]]]
        sources = [(b"plain", content.text, str), (_HTML, content.html, html.escape)]
        parts = [
            (kind, self._template(source, escape, in_html=kind == _HTML), escape)
            for kind, source, escape in sources
            if source
        ]
        end: list[_Fixed]
        if len(parts) == 1:
            [(kind, template, escape)] = parts
            end = [(b"Content-Type", _text(kind)), (b"Content-Transfer-Encoding", b"base64")]
            self._parts = [(b"", template, escape)]
            self._body_end = b""
        else:
            end = [(b"Content-Type", b'multipart/alternative; boundary="' + boundary + b'"')]
            self._parts = [(_part_head(boundary, kind), template, escape) for kind, template, escape in parts]
            self._body_end = b"--" + boundary + b"--\r\n"
        if content.files:
            end = self._wrap(boundary, end, content.files)
        self._head = self._head_of(content, end)

    def _head_of(self, content: Content, end: Sequence[Header]) -> Head:
        """In the order in which `_values` fills it in."""
        return Head(
            [
                (b"From", named_mailbox(content.from_name, content.from_address)),
                *([(b"Reply-To", mailbox(content.reply_to).encode("ascii"))] if content.reply_to else []),
                (b"To", None),
                (b"Subject", None if self._subject_differs else self._subject_of(())),
                (b"Date", None),
                (b"Message-ID", None),
                (b"MIME-Version", b"1.0"),
                *(_ONE_CLICK if content.one_click else ()),
                *end,
            ]
        )

    def compose(self, recipient: Recipient, date: datetime) -> Message:
        """The message for one recipient. Raises BadMailbox when its address cannot stand in a header."""
        to = mailbox(recipient.email)
        number, tokens = recipient.id, self._tokens
        link = self._link + tokens.unsubscribe(number)
        links = [link.encode("ascii")]
        for one in self._places:
            links.append((self._click + self._clicks.token(number, one)).encode("ascii"))
        sender = Mailbox(tokens.bounce(number) + self._bounces_at) if self._bounces_at else self._from
        values = self._values(recipient, to, date, link)
        return Message(number, sender, to, self._head, values, self._body(recipient.slots, links))

    def _values(self, recipient: Recipient, to: Mailbox, date: datetime, link: str) -> tuple[bytes, ...]:
        values = [to.encode("ascii")]
        if self._subject_differs:
            values.append(self._subject_of([*recipient.slots, link]))
        values.append(_date(date))
        values.append(f"<{self._tokens.message_id(recipient.id)}{self._id_end}".encode("ascii"))
        if self._one_click:
            values.append(f"<{link}>".encode("ascii"))
        return tuple(values)

    def _wrap(self, inner: bytes, end: Sequence[_Fixed], files: Sequence[bytes]) -> list[_Fixed]:
        """Put what was the whole mail, and the files, into a multipart/mixed; returns the fields that end its head."""
        # Neither boundary is the beginning of the other: lenient readers compare no further.
        boundary = b"=-" + inner.removeprefix(b"=_")
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in end)
        (head, template, escape), *others = self._parts
        self._parts = [(b"--" + boundary + b"\r\n" + fields + b"\r\n" + head, template, escape), *others]
        self._body_end += mixed(boundary, files)
        return [(b"Content-Type", b'multipart/mixed; boundary="' + boundary + b'"')]

    def _body(self, slots: Sequence[str], links: Sequence[bytes]) -> list[bytes]:
        plain = [_plain(value) for value in slots]
        pieces = []
        for head, template, escape in self._parts:
            pieces.append(head)
            pieces += template.pieces([*[escape(value).encode() for value in plain], *links])
        pieces.append(self._body_end)
        return pieces

    def _template(self, source: str, escape: Callable[[str], str], *, in_html: bool) -> Base64Template:
        pieces = with_links(source, self._links, in_html=in_html) if self._links else parse(source)

        def step(piece: str | Placeholder | Link) -> bytes | Hole:
            if isinstance(piece, Link):
                return Hole(self._places[piece.number], b"")
            if isinstance(piece, Placeholder):
                return Hole(self._index[piece.name], escape(_plain(piece.default)).encode())
            return _plain(piece).encode()

        return Base64Template([step(piece) for piece in pieces])

    def _subject_of(self, values: Sequence[str]) -> bytes:
        return unstructured(
            "".join(
                [
                    piece if isinstance(piece, str) else values[self._index[piece.name]] or piece.default
                    for piece in self._subject
                ]
            )
        )


@lru_cache(maxsize=8)
def _date(moment: datetime) -> bytes:
    """A batch has one date."""
    return format_datetime(moment.astimezone(JST)).encode("ascii")


def _text(kind: bytes) -> bytes:
    return b"text/" + kind + b"; charset=utf-8"


def _part_head(boundary: bytes, kind: bytes) -> bytes:
    return b"\r\n".join(
        (b"--" + boundary, b"Content-Type: " + _text(kind), b"Content-Transfer-Encoding: base64", b"", b"")
    )


def _plain(value: str) -> str:
    """Lines end with CRLF, the canonical form of text in MIME; other control characters go."""
    if value.isprintable():
        return value
    return _BREAKS.sub("\r\n", _REFUSED.sub("", value))
