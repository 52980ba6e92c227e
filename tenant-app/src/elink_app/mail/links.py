"""Links of a mail that can be counted: where they stand, and where they lead. Pure functions.

Counted are http and https URLs that are the same for every recipient: in the `href` of an `<a>` of the HTML part (clean
HTML, as `templates.layout` makes it) and in the plain text. A URL with a placeholder in it stays as it is, and so does
one in the text that runs into Japanese letters: nobody knows where it ends.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import idna

from elink_app.mail.placeholders import Placeholder, parse

MOST_LINKS = 200
_LONGEST = 2000
# Stands for the characters of placeholders while URLs are looked for; texts of people never hold it.
_MASK = "\0"
_ASCII = r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%\x00-]"
# Without the end of the host in sight, what follows an ASCII host in Japanese text is no part of it.
_IN_TEXT = re.compile(
    rf"(?<![A-Za-z0-9])https?://(?:(?:[\w-]+\.)+[A-Za-z]{{2,63}}(?![\w.-])(?:[:/?#\x00]{_ASCII}*)?|{_ASCII}+)",
    re.IGNORECASE,
)
_AT_THE_END = ".,;:!?'"
_IN_HTML = re.compile(r'<a(?: [a-z-]+="[^"]*")*? href="([^"]*)"')
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029]")
_URL = "!#$%&'()*+,-./:;=?@[]_~"


@dataclass(frozen=True, slots=True)
class Link:
    """Where the recipient's own link number `number` stands."""

    number: int


@dataclass(frozen=True)
class Found:
    """Distinct URLs in order of appearance. `left`: those that stay as they are."""

    counted: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Spot:
    begin: int
    end: int
    url: str
    clear: bool


def find(text: str, html_body: str, *, never: Sequence[str] = ()) -> Found:
    """The URLs of both parts that can be counted, MOST_LINKS at most; none that begins with one of `never`."""
    counted: dict[str, None] = {}
    left: dict[str, None] = {}
    for source, in_html in ((text, False), (html_body, True)):
        for spot in _spots(source, in_html=in_html):
            if spot.url.startswith(tuple(never)):
                continue
            (counted if spot.clear and location(spot.url) is not None else left)[spot.url] = None
    urls = list(counted)
    return Found(tuple(urls[:MOST_LINKS]), tuple(dict.fromkeys([*left, *urls[MOST_LINKS:]])))


def with_links(source: str, numbers: Mapping[str, int], *, in_html: bool) -> list[str | Placeholder | Link]:
    """As `placeholders.parse`, with a Link in place of each URL that has a number. Raises PlaceholderError."""
    pieces: list[str | Placeholder | Link] = []
    position = 0
    for spot in _spots(source, in_html=in_html):
        if spot.clear and (number := numbers.get(spot.url)) is not None:
            pieces += [*parse(source[position : spot.begin]), Link(number)]
            position = spot.end
    return [*pieces, *parse(source[position:])]


def location(url: str) -> str | None:
    """The URL in ASCII, for a `Location` header; None for what is no http or https URL with a host."""
    if len(url) > _LONGEST or _UNSAFE.search(url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    if parts.netloc.isascii():
        return quote(url, safe=_URL)
    if "@" in parts.netloc:
        return None
    try:
        domain = idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return None
    rest = url.partition("://")[2][len(parts.netloc) :]
    return f"{parts.scheme}://{domain}{f':{port}' if port is not None else ''}{quote(rest, safe=_URL)}"


def _spots(source: str, *, in_html: bool) -> Iterator[_Spot]:
    masked = _masked(source)
    return _spots_in_html(source, masked) if in_html else _spots_in_text(source, masked)


def _masked(source: str) -> str:
    """The source with its placeholders, as `placeholders.parse` finds them, made unreadable; of the same length."""
    parts: list[str] = []
    position = 0
    while (begin := source.find("{{", position)) >= 0 and (end := source.find("}}", begin)) >= 0:
        parts += [source[position:begin], _MASK * (end + 2 - begin)]
        position = end + 2
    return "".join([*parts, source[position:]])


def _spots_in_text(source: str, masked: str) -> Iterator[_Spot]:
    for found in _IN_TEXT.finditer(masked):
        begin, end = found.span()
        runs_on = masked[end : end + 1].isalnum()
        if not runs_on and end - begin <= _LONGEST:
            end = begin + len(_trimmed(found[0]))
        yield _Spot(begin, end, source[begin:end], not runs_on and _MASK not in masked[begin:end])


def _trimmed(url: str) -> str:
    """Without the punctuation of the sentence around it; a bracket that was opened in the URL stays."""
    while url and (
        url[-1] in _AT_THE_END
        or (url[-1] == ")" and url.count(")") > url.count("("))
        or (url[-1] == "]" and url.count("]") > url.count("["))
    ):
        url = url[:-1]
    return url


def _spots_in_html(source: str, masked: str) -> Iterator[_Spot]:
    for found in _IN_HTML.finditer(masked):
        begin, end = found.span(1)
        url = html.unescape(source[begin:end]).strip()
        if url[:8].lower().startswith(("http://", "https://")):
            yield _Spot(begin, end, url, _MASK not in found[1])
