"""Syntax of e-mail addresses."""

from __future__ import annotations

import re

from email_validator import EmailNotValidError, validate_email

# Japanese carriers gave out names with dots in a row or at the end, against RFC 5321. People still have them.
_OLD_CARRIERS = ("docomo.ne.jp", "ezweb.ne.jp")
_OLD_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/?-]{0,63}\Z")
# Most addresses by far: the checker below accepts all of these as they are, and takes many times as long.
_PLAIN = re.compile(
    r"[A-Za-z0-9_+-]{1,30}(?:\.[A-Za-z0-9_+-]{1,30})?@(?:[a-z0-9]{1,40}(?:-[a-z0-9]{1,20})?\.){1,3}(?:jp|com|net|org)\Z"
)


def clean_email(value: str) -> str | None:
    """The address with a lower-case ASCII domain, or None when it is not one."""
    if _PLAIN.match(value):
        return value
    local, at, domain = value.strip().rpartition("@")
    if at and domain.lower() in _OLD_CARRIERS and _OLD_LOCAL.match(local):
        return f"{local}@{domain.lower()}"
    try:
        found = validate_email(value.strip(), check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError:
        return None
    return f"{found.local_part}@{found.ascii_domain}" if found.ascii_domain else None


def email_key(email: str) -> str:
    """The form in which addresses are compared: lower case, though RFC 5321 leaves the local part to the receiver."""
    return email.strip().lower()
