"""Making, showing, ending API tokens, and telling who uses one."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.accounts.permissions import Principal, effective, known
from elink_app.accounts.sessions import principal_of
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.errors import InvalidInput, NotFound
from elink_app.tokens.models import ApiToken
from elink_app.tokens.repository import TokenRepository
from elink_app.tokens.schemas import NewTokenOutput, TokenInput, TokenOutput
from elink_app.validation import field_error

MAX_TOKENS = 20
_FORM = re.compile(r"elk_[A-Za-z0-9_-]{43}\Z")
_TOUCH_EVERY = timedelta(minutes=1)


def hash_token(secret: str) -> bytes:
    """What is kept of a token. It has 256 random bits: a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


class Tokens:
    """The tokens of one tenant within one transaction."""

    def __init__(self, db: AsyncSession, clock: Clock) -> None:
        self._db = db
        self._rows = TokenRepository(db)
        self._clock = clock

    async def identify(self, secret: str) -> Principal | None:
        """Who holds this token; None when it is over, revoked or never was. Never more than its owner may now."""
        if not _FORM.match(secret):
            return None
        now = self._clock()
        found = await self._rows.find(hash_token(secret), now)
        if found is None:
            return None
        token, account, grants, factor_due = found
        if token.last_used_at is None or now - token.last_used_at > _TOUCH_EVERY:
            await self._rows.touch(token.id, now)
        owner = principal_of(account, None, grants, factor_due=factor_due)
        return replace(owner, permissions=effective(owner.permissions & known(token.permissions)))

    async def of(self, account_id: int) -> Sequence[TokenOutput]:
        """The tokens of an account, newest first."""
        return [_output(token) for token in await self._rows.of(account_id)]

    async def create(self, principal: Principal, actor: Actor, data: TokenInput) -> NewTokenOutput:
        """Make a token; raises InvalidInput, also for a permission that the owner lacks."""
        if not set(data.permissions) <= principal.permissions:
            raise InvalidInput([field_error(("permissions",), "permission_lacking")])
        if await self._rows.count(principal.account_id) >= MAX_TOKENS:
            raise InvalidInput([field_error(("name",), "too_many_tokens", max_length=MAX_TOKENS)])
        secret = _new_secret()
        now = self._clock()
        token = ApiToken(
            account_id=principal.account_id,
            name=data.name,
            secret_sha256=hash_token(secret),
            permissions=list(data.permissions),
            created_at=now,
            expires_at=now + timedelta(days=data.days),
        )
        await self._rows.add(token)
        facts = {"name": data.name, "permissions": data.permissions, "expires": token.expires_at}
        await record(self._db, actor, "token.create", kind="token", key=str(token.id), after=facts, now=now)
        return NewTokenOutput(**_output(token).model_dump(), secret=secret)

    async def renew(self, principal: Principal, actor: Actor, token_id: int) -> NewTokenOutput | None:
        """Another secret for a token that no program uses yet; the one before ends. None for one in use, or gone."""
        token = await self._rows.unused(principal.account_id, token_id)
        if token is None:
            return None
        secret = _new_secret()
        token.secret_sha256 = hash_token(secret)
        await record(
            self._db, actor, "token.renew", kind="token", key=str(token.id), after={"name": token.name},
            now=self._clock(),
        )  # fmt: skip
        return NewTokenOutput(**_output(token).model_dump(), secret=secret)

    async def revoke(self, account_id: int, token_id: int, actor: Actor) -> None:
        """End a token of this account; raises NotFound."""
        name = await self._rows.revoke(account_id, token_id)
        if name is None:
            raise NotFound
        await record(
            self._db, actor, "token.revoke", kind="token", key=str(token_id), before={"name": name}, now=self._clock()
        )


def _new_secret() -> str:
    return f"elk_{secrets.token_urlsafe(32)}"


def _output(token: ApiToken) -> TokenOutput:
    return TokenOutput(
        id=token.id,
        name=token.name,
        permissions=sorted(known(token.permissions)),
        created_at=token.created_at.astimezone(JST),
        expires_at=token.expires_at.astimezone(JST),
        last_used_at=token.last_used_at.astimezone(JST) if token.last_used_at else None,
    )
