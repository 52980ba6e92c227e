"""What servers need at the mail relay: a copy of the platform's password there, and the authority to trust."""

import base64
from datetime import timedelta
from pathlib import Path

from elink_operator.cluster.errors import NotFound
from elink_operator.cluster.kinds import SECRET
from elink_operator.desired.inputs import MailLogin
from elink_operator.reconcile.context import Context
from elink_operator.reconcile.errors import Waiting
from elink_operator.trust import check_authority

_AGE = timedelta(seconds=50)
"""The platform's own Secret is not watched: it is read once a minute for all servers."""


async def read_mail_login(ctx: Context) -> MailLogin | None:
    """The log-in, None when the relay wants none. Raises Waiting while the Secret is missing or incomplete."""
    name = ctx.settings.mail_login_secret
    if not name:
        return None
    now, known = ctx.clock(), ctx.memory.mail_login
    if known is not None and now - known[0] < _AGE:
        return known[1]
    where = f"{ctx.settings.namespace}/{name}"
    try:
        data = (await ctx.client.get(SECRET, name, ctx.settings.namespace)).get("data") or {}
    except NotFound:
        raise Waiting("SecretMissing", f"Secret {where} with the log-in of the mail relay does not exist") from None
    values = {key: base64.b64decode(data.get(key, "")).decode() for key in ("username", "password")}
    missing = [key for key, value in values.items() if not value]
    if missing:
        raise Waiting("SecretIncomplete", f"Secret {where} lacks {', '.join(missing)}; add what is missing")
    login = MailLogin(values["username"], values["password"])
    ctx.memory.mail_login = (now, login)
    return login


def read_mail_authority(ctx: Context) -> str:
    """The relay's certificate authority (PEM), empty for a public one. Raises Waiting for a file that is none."""
    file = ctx.settings.mail_ca_file
    if not file:
        return ""
    try:
        authority = Path(file).read_text(encoding="utf-8")
        check_authority(authority)
    except (OSError, ValueError) as error:
        raise Waiting(
            "MailAuthorityUnusable", f"{file}, the authority of the mail relay, cannot be used: {error}"
        ) from None
    return authority
