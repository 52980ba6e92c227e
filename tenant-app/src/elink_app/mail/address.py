"""Mailboxes as they may stand in an SMTP command or a header: nothing that ends the line or the brackets."""

from __future__ import annotations

import re
from typing import NewType

_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
# Printable ASCII without space, quotes, backslash and brackets: what is left is safe inside quotes and inside <>.
_SAFE_LOCAL = re.compile(r"[!#-;=?-\[\]-~]{1,64}\Z")
_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\Z"
)


Mailbox = NewType("Mailbox", str)
"""What `mailbox` gave: safe inside <>."""


class BadMailbox(ValueError):
    """The text cannot be a mailbox in a command."""


def mailbox(address: str) -> Mailbox:
    """The address in the form of RFC 5321; old carriers' names (`a..b@docomo.ne.jp`) get quotes. Raises BadMailbox."""
    local, at, domain = address.rpartition("@")
    if not at or not _SAFE_LOCAL.match(local) or not _DOMAIN.match(domain):
        raise BadMailbox
    return Mailbox(address if _DOT_ATOM.match(local) else f'"{local}"@{domain}')
