"""The SMTP relay, for the operator's own few mails."""

import asyncio
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from elink_operator.settings import Settings
from elink_operator.trust import client_context

_SECONDS: Final = 10.0
_SERVICE_CLOSES: Final = 421


class RelayAway(Exception):
    """The relay took not all mails and refused none for good: try the rest again. `accepted`: recipients it took."""

    def __init__(self, message: str, accepted: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.accepted = tuple(accepted)


@dataclass(frozen=True)
class Relay:
    """How the relay is reached.

    `login`: folder with the files `username` and `password`; `authority`: file of the only certificate authority to
    trust (PEM), empty for the public ones. All are read at each connection.
    """

    host: str
    port: int
    tls: str = "off"
    login: str = ""
    authority: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Relay":
        """The relay of the settings."""
        return cls(
            settings.mail_host, settings.mail_port, settings.mail_tls, settings.mail_login_dir, settings.mail_ca_file
        )

    async def send(self, mails: Sequence[EmailMessage]) -> list[str]:
        """Hand over mails of one recipient each; returns the recipients that were refused for good (5xx).

        Raises RelayAway for everything that may pass: no answer, a refused log-in, 4xx.
        """
        return await asyncio.to_thread(self._send, mails)

    def _send(self, mails: Sequence[EmailMessage]) -> list[str]:
        accepted: list[str] = []
        refused: list[str] = []
        try:
            with self._connect() as connection:
                for mail in mails:
                    to = str(mail["To"])
                    if _hand_over(connection, mail):
                        accepted.append(to)
                    else:
                        refused.append(to)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            # After the last answer nothing that fails matters any more.
            if len(accepted) + len(refused) == len(mails):
                return refused
            raise RelayAway(_words(error), [*accepted, *refused]) from None
        return refused

    def _connect(self) -> smtplib.SMTP:
        # Not needed without TLS; the time it takes to read the public authorities is nothing here.
        context = client_context(file=self.authority or None)
        if self.tls == "implicit":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=_SECONDS, context=context)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=_SECONDS)
        try:
            if self.tls == "starttls":
                connection.starttls(context=context)
            if self.login:
                folder = Path(self.login)
                connection.login(*((folder / name).read_text().strip() for name in ("username", "password")))
        except BaseException:
            connection.close()
            raise
        return connection


def _hand_over(connection: smtplib.SMTP, mail: EmailMessage) -> bool:
    """Whether the relay took the mail; False for a refusal for good. Raises what may pass."""
    try:
        connection.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code, _ = next(iter(error.recipients.values()))
        if code == _SERVICE_CLOSES or code < 500:
            raise
        return False
    except smtplib.SMTPDataError as error:
        if error.smtp_code < 500:
            raise
        return False
    return True


def _words(error: Exception) -> str:
    """What went wrong, without what was sent: the answer to a log-in may repeat the name, to RCPT the address."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "the relay takes a recipient later"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the relay answered {error.smtp_code}"
    return f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
