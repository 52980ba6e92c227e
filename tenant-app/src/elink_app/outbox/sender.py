"""Sends what waits in the outbox, one mail at a time, over aiosmtplib."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from email.message import EmailMessage, Message
from email.utils import format_datetime

import aiosmtplib
import structlog

from elink_app.attachments.attachment import Attachment, parse
from elink_app.attachments.files import REASON, AttachmentLost, read
from elink_app.clock import JST, Clock
from elink_app.database.engines import TenantDatabases
from elink_app.mail.attachments import part_headers
from elink_app.mail.base64_parts import encoded_lines
from elink_app.mail.smtp import Relay
from elink_app.mail.smtp_reply import Reply, is_about_sender
from elink_app.ops.servers import Stop
from elink_app.outbox.models import OutboxMail
from elink_app.outbox.repository import OutboxRepository
from elink_app.outbox.results import EXPIRED
from elink_app.registry.tenant import Tenant
from elink_app.settings import Settings
from elink_app.transfer.store import FileStore

_LEASE = timedelta(minutes=5)
_TIMEOUT = 30.0
_FIRST_DELAY, _LAST_DELAY = timedelta(seconds=30), timedelta(hours=1)
_GIVE_UP_AFTER = 20
"""Attempts: with these delays about 15 hours."""

log = structlog.get_logger("outbox")


class OutboxSender:
    """A task of the worker. A mail that was sent when the process died goes out again under the same Message-ID."""

    name = "outbox"

    def __init__(
        self, settings: Settings, databases: TenantDatabases, clock: Clock, relay: Relay | None = None
    ) -> None:
        """`relay` instead of the settings' own."""
        self._settings = settings
        self._store = FileStore(settings.tenants_dir)
        self._relay = relay or settings.relay()
        self._databases = databases
        self._clock = clock

    async def run(self, tenant: Tenant, stop: Stop) -> bool:
        """Send all that is due."""
        while not stop.asked and self._settings.smtp_host:
            now = self._clock()
            async with self._databases.transaction(tenant) as db:
                mail = await OutboxRepository(db).claim(now, now + _LEASE)
                if mail is None:
                    return False
                db.expunge(mail)
            await self._deliver(tenant, mail)
        return False

    async def _deliver(self, tenant: Tenant, mail: OutboxMail) -> None:
        now = self._clock()
        error, final = "", True
        if mail.expires_at is not None and mail.expires_at <= now:
            error = EXPIRED
        else:
            try:
                message = build_mail(mail, tenant, self._settings)
                for attachment in parse(mail.attachments):
                    attach(message, attachment, await asyncio.to_thread(read, self._store, tenant, attachment))
                await _send(self._relay, message)
            except AttachmentLost:
                error, final = REASON, True
            except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as refused:
                error = _words(refused)
                final = _is_permanent(refused) or mail.attempts >= _GIVE_UP_AFTER
            except (OSError, aiosmtplib.SMTPException) as failed:
                error, final = f"{type(failed).__name__}: {failed}"[:500], mail.attempts >= _GIVE_UP_AFTER
        async with self._databases.transaction(tenant) as db:
            rows = OutboxRepository(db)
            if not error:
                await rows.finish(mail.id, now, sent=True)
            elif final:
                await rows.finish(mail.id, now, sent=False, error=error)
            else:
                await rows.postpone(mail.id, now + back_off(mail.attempts), error)
        if error:
            log.warning("mail not sent", tenant=tenant.name, mail=mail.id, kind=mail.kind, gave_up=final, why=error)


async def _send(relay: Relay, message: EmailMessage) -> None:
    """By the same road as deliveries: `starttls` is demanded and not only tried, no password goes out without TLS."""
    if relay.user and relay.tls == "off":
        raise aiosmtplib.SMTPException("a password is not sent without TLS")
    await aiosmtplib.send(
        message,
        hostname=relay.host,
        port=relay.port,
        local_hostname=relay.local_name,
        use_tls=relay.tls == "implicit",
        start_tls=relay.tls == "starttls",
        tls_context=relay.tls_context() if relay.tls != "off" else None,
        username=relay.user or None,
        password=relay.password or None,
        timeout=_TIMEOUT,
    )


def back_off(attempts: int) -> timedelta:
    """How long to wait after the given number of attempts."""
    doublings: int = 2 ** min(attempts - 1, 10)
    return min(_FIRST_DELAY * doublings, _LAST_DELAY)


def build_mail(mail: OutboxMail, tenant: Tenant, settings: Settings) -> EmailMessage:
    """The message as it is sent. UTF-8; text first, HTML as the alternative where there is one."""
    message = EmailMessage()
    message["From"] = tenant.sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.created_at.astimezone(JST))
    message["Message-ID"] = f"<outbox-{mail.id}.{tenant.uid or tenant.name}@{tenant.host}>"
    message["Auto-Submitted"] = "auto-generated"
    if tenant.mail.reply_to:
        message["Reply-To"] = tenant.mail.reply_to
    for name, value in mail.headers.items():
        message[name] = value
    message.set_content(mail.text_body, cte="base64")
    if mail.html_body:
        message.add_alternative(mail.html_body, subtype="html", cte="base64")
    return message


def attach(message: EmailMessage, attachment: Attachment, content: bytes) -> None:
    """Add a file just as deliveries have it: test mails show what recipients will see."""
    # Not an EmailMessage: its headers would be written anew, and only as RFC 2231 says.
    part = Message()
    for name, value in part_headers(attachment.name, attachment.media_type):
        part[name.decode("ascii")] = value.decode("ascii").replace("\r\n", "\n")
    part.set_payload(encoded_lines(content).decode("ascii").replace("\r\n", "\n"))
    if message.get_content_type() != "multipart/mixed":
        message.make_mixed()
    message.attach(part)  # type: ignore[arg-type]


def _words(refused: aiosmtplib.SMTPResponseException | aiosmtplib.SMTPRecipientsRefused) -> str:
    """The server's reply on one line; there is one recipient."""
    said = refused.recipients[0] if isinstance(refused, aiosmtplib.SMTPRecipientsRefused) else refused
    return str(Reply(said.code, (said.message.encode("utf-8", "surrogateescape"),)))


def _is_permanent(refused: aiosmtplib.SMTPException) -> bool:
    """False also for a refusal of ourselves: that is a setting of the platform, which somebody will mend."""
    if isinstance(refused, aiosmtplib.SMTPRecipientsRefused):
        return all(500 <= one.code < 600 and not is_about_sender(one.code, one.message) for one in refused.recipients)
    if not isinstance(refused, aiosmtplib.SMTPResponseException) or is_about_sender(refused.code, refused.message):
        return False
    return 500 <= refused.code < 600
