"""What files of mails may be called and what they may be. Pure functions.

A list of what is accepted, not of what is refused: whatever a mail program or Windows may run (.exe .js .vbs .bat .cmd
.scr .lnk .iso .hta), documents with macros (.docm .xlsm, and .doc .xls, which may hold some), pages (.html .svg) and
archives, into which nobody looks and which many receivers refuse, are in no list and so are left out, with all that is
yet to be invented. The type that mails name is ours and not what a browser says.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from elink_app.errors import FieldError
from elink_app.templates.images import kind_of
from elink_app.validation import field_error

MAX_FILES = 3
# Kanji of three bytes each fit the 255 bytes that file systems of receivers take.
MAX_NAME = 80
FIELD = "file"

# What Windows takes in no name, with the two that lead to other folders.
_REFUSED = re.compile(r'[/\\:*?"<>|\ufffd]')
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|\Z)", re.IGNORECASE)
_WIDE_SPACE = "\u3000"


@dataclass(frozen=True)
class _Kind:
    media_type: str
    # Whether a content can be of this kind; a look at its first bytes, no proof.
    fits: Callable[[bytes], bool]


def _image(ending: str) -> _Kind:
    return _Kind(f"image/{ending}", lambda content: kind_of(content) == ending.replace("jpeg", "jpg"))


def _office(name: str) -> _Kind:
    # With a password it is another kind of file, which nobody can look into: neither we nor a receiver's scanner.
    media_type = f"application/vnd.openxmlformats-officedocument.{name}"
    return _Kind(media_type, lambda content: content.startswith(b"PK\x03\x04"))


def _text(name: str) -> _Kind:
    return _Kind(f"text/{name}", _is_text)


def _is_text(content: bytes) -> bool:
    # Excel saves "Unicode text" as UTF-16, in which every other byte may be a NUL.
    return content.startswith((b"\xff\xfe", b"\xfe\xff")) or not (b"\0" in content or content.startswith(b"MZ"))


_KINDS: Mapping[str, _Kind] = {
    "pdf": _Kind("application/pdf", lambda content: b"%PDF-" in content[:1024]),
    "docx": _office("wordprocessingml.document"),
    "xlsx": _office("spreadsheetml.sheet"),
    "pptx": _office("presentationml.presentation"),
    "png": _image("png"),
    "jpg": _image("jpeg"),
    "jpeg": _image("jpeg"),
    "gif": _image("gif"),
    "webp": _image("webp"),
    "txt": _text("plain"),
    "csv": _text("csv"),
    "ics": _text("calendar"),
}
ENDINGS = tuple(_KINDS)


def clean_name(given: str) -> str | None:
    """The name in the form in which it is kept; None for one that cannot be kept.

    Composed (macOS takes が apart), outer spaces and the dots at its end gone, as Windows drops them; other spaces
    than the Japanese one become the plain one. What could lead to another folder, begin another header or make a name
    read backwards is refused and not mended: the sender would not know what recipients see.
    """
    name = unicodedata.normalize("NFC", given)
    name = "".join(" " if unicodedata.category(one) == "Zs" and one != _WIDE_SPACE else one for one in name)
    name = name.rstrip(f" .{_WIDE_SPACE}").lstrip(f" {_WIDE_SPACE}")
    if not name or len(name) > MAX_NAME or name.startswith(".") or _DEVICE.match(name) or _REFUSED.search(name):
        return None
    return None if any(unicodedata.category(one) in _HIDDEN for one in name) else name


def media_type_of(name: str) -> str | None:
    """The type of what is called so; None when it is not accepted."""
    kind = _kind(name)
    return kind.media_type if kind is not None else None


def check_content(name: str, content: bytes) -> list[FieldError]:
    """What is wrong with a file; empty when nothing is. `name` is a clean one."""
    kind = _kind(name)
    if kind is None:
        return [wrong("attachment_kind", kinds=", ".join(ENDINGS))]
    if not content:
        return [wrong("attachment_empty")]
    return [] if kind.fits(content) else [wrong("attachment_content")]


def wrong(code: str, **context: object) -> FieldError:
    """An error at the field of the file."""
    return field_error((FIELD,), code, **context)


def _kind(name: str) -> _Kind | None:
    stem, dot, ending = name.rpartition(".")
    return _KINDS.get(ending.lower()) if stem and dot else None
