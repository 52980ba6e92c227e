"""The texts of mails about accounts, in the tenant's language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from elink_app.messages import N_, Message
from elink_app.web.i18n import DEFAULT, TRANSLATORS

OFFER_MAIL = "master-offer"

_INVITED = N_("Invitation to %(tenant)s")
_INVITED_TEXT = N_(
    "You have been registered as a user of %(tenant)s on elink.\n\n"
    "Open this page and choose your password:\n%(url)s\n\n"
    "The link works once, until %(until)s."
)
_FORGOTTEN = N_("New password for %(tenant)s")
_FORGOTTEN_TEXT = N_(
    "Somebody asked for a new password for your account at %(tenant)s on elink.\n\n"
    "If that was you, open this page and choose one:\n%(url)s\n\n"
    "The link works once, until %(until)s. If it was not you, nothing needs to be done: the password stays as it is."
)
_CHANGED = N_("Your password at %(tenant)s was changed")
_CHANGED_TEXT = N_(
    "The password of your account at %(tenant)s on elink was changed by a link in a mail. If that was not you, tell "
    "the master account of your organisation at once."
)
_OFFERED = N_("You are to become the master account of %(tenant)s")
_OFFERED_TEXT = N_(
    "%(name)s offers you the place of the master account of %(tenant)s on elink.\n\n"
    "Log in and accept or decline it here:\n%(url)s\n\n"
    "The offer ends at %(until)s."
)


@dataclass(frozen=True)
class MailText:
    """Subject and plain text."""

    subject: str
    text: str


def _mail(language: str, subject: str, text: str, **values: object) -> MailText:
    translator = TRANSLATORS[language or DEFAULT]
    shown: dict[str, object] = {
        name: translator.moment(value) if isinstance(value, datetime) else _one_line(str(value))
        for name, value in values.items()
    }
    return MailText(translator.text(Message(subject, shown)), translator.text(Message(text, shown)))


def _one_line(value: str) -> str:
    return " ".join(value.split())


def invitation(language: str, tenant: str, url: str, until: datetime) -> MailText:
    """To a user who was registered."""
    return _mail(language, _INVITED, _INVITED_TEXT, tenant=tenant, url=url, until=until)


def forgotten(language: str, tenant: str, url: str, until: datetime) -> MailText:
    """To somebody who asked for a new password."""
    return _mail(language, _FORGOTTEN, _FORGOTTEN_TEXT, tenant=tenant, url=url, until=until)


def password_changed(language: str, tenant: str) -> MailText:
    """To somebody whose password was set by a link."""
    return _mail(language, _CHANGED, _CHANGED_TEXT, tenant=tenant)


def master_offered(language: str, tenant: str, name: str, url: str, until: datetime) -> MailText:
    """To whom the master's place is offered."""
    return _mail(language, _OFFERED, _OFFERED_TEXT, tenant=tenant, name=name, url=url, until=until)
