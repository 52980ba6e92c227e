"""The page of one's own API tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import InvalidInput
from elink_app.roles.routes import PERMISSION_NAMES
from elink_app.sentforms.deps import SentDep
from elink_app.tokens.deps import TokensDep
from elink_app.tokens.schemas import NewTokenOutput, TokenInput
from elink_app.tokens.service import Tokens
from elink_app.validation import field_errors
from elink_app.web import pages
from elink_app.web.deps import ActorDep, InPersonDep
from elink_app.web.forms import field, fields, read_form

router = APIRouter(include_in_schema=False)

TokenId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_MADE = "/account/tokens?notice=made-before&made="
_EMPTY: dict[str, Any] = {"name": "", "permissions": [], "days": "90"}


@router.get("/account/tokens")
async def token_list(request: Request, principal: InPersonDep, tokens: TokensDep, notice: str = "") -> Response:
    """One's own tokens and a form for another."""
    return await _page(request, principal, tokens, _EMPTY, notice=notice)


@router.post("/account/tokens")
async def create(
    request: Request, principal: InPersonDep, actor: ActorDep, tokens: TokensDep, sent: SentDep
) -> Response:
    """Make a token and show its secret, this once: the answer is no redirect, so the secret is in no address.

    Of a button that was pressed twice the browser shows the second answer only: it brings the same token another
    secret, as long as no program uses the first.
    """
    if sent.led_to is not None:
        again = await tokens.renew(principal, actor, int(sent.led_to.removeprefix(_MADE)))
        return pages.redirect(sent.led_to) if again is None else await _page(
            request, principal, tokens, _EMPTY, made=again, renewed=True
        )  # fmt: skip
    form = await read_form(request)
    values = {"name": field(form, "name"), "permissions": fields(form, "permissions"), "days": field(form, "days")}
    try:
        made = await tokens.create(principal, actor, TokenInput.model_validate(values))
    except (ValidationError, InvalidInput) as error:
        errors = field_errors(error.errors()) if isinstance(error, ValidationError) else error.errors
        return await _page(request, principal, tokens, values, errors=pages.FormErrors(errors), status=422)
    await sent.made(f"{_MADE}{made.id}")
    return await _page(request, principal, tokens, _EMPTY, made=made)


@router.post("/account/tokens/{token_id}/revoke")
async def revoke(principal: InPersonDep, actor: ActorDep, tokens: TokensDep, token_id: TokenId) -> Response:
    """End a token."""
    await tokens.revoke(principal.account_id, token_id, actor)
    return pages.redirect("/account/tokens?notice=revoked")


async def _page(
    request: Request,
    principal: Principal,
    tokens: Tokens,
    values: dict[str, Any],
    *,
    errors: pages.FormErrors | None = None,
    made: NewTokenOutput | None = None,
    renewed: bool = False,
    notice: str = "",
    status: int = 200,
) -> Response:
    return pages.render(
        request,
        "tokens.html",
        principal=principal,
        status=status,
        tokens=await tokens.of(principal.account_id),
        names=PERMISSION_NAMES,
        values=values,
        made=made,
        renewed=renewed,
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )
