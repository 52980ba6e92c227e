"""`/api/v1/tokens`: the caller's own. A token cannot make or end tokens: only a log-in can."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response, status

from elink_app.tokens.deps import TokensDep
from elink_app.tokens.schemas import NewTokenOutput, TokenInput, TokenList
from elink_app.web.deps import ActorDep, InPersonDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"], responses=problems(401, 403, 503))

TokenId = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]


@router.get("")
async def list_tokens(principal: InPersonDep, tokens: TokensDep) -> TokenList:
    """The caller's tokens, newest first."""
    return TokenList(items=list(await tokens.of(principal.account_id)))


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_token(
    principal: InPersonDep, actor: ActorDep, tokens: TokensDep, data: TokenInput, response: Response
) -> NewTokenOutput:
    """Make a token. Its secret is in this answer and nowhere else."""
    made = await tokens.create(principal, actor, data)
    response.headers["Location"] = f"/api/v1/tokens/{made.id}"
    return made


@router.delete("/{token_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def revoke_token(principal: InPersonDep, actor: ActorDep, tokens: TokensDep, token_id: TokenId) -> None:
    """End a token at once."""
    await tokens.revoke(principal.account_id, token_id, actor)
