"""The pages behind the link in a mail: no log-in, no session. Looking changes nothing: mail scanners look too."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from elink_app.errors import NotFound
from elink_app.optout.service import Choice, OptOuts
from elink_app.templates.service import EXAMPLE_TOKEN
from elink_app.web import pages
from elink_app.web.deps import DbDep, StateDep
from elink_app.web.forms import field, read_form
from elink_app.web.state import client_of

router = APIRouter(include_in_schema=False, prefix="/unsubscribe")

# The address of the page is the key to it: no other site learns it.
_HEADERS = {"Referrer-Policy": "no-referrer"}


def opt_outs(db: DbDep, state: StateDep) -> OptOuts:
    """The tenant's recipients' decisions in the request's transaction."""
    return OptOuts(db, state.clock)


OptOutsDep = Annotated[OptOuts, Depends(opt_outs)]


@router.get("/{token}")
async def ask(request: Request, found: OptOutsDep, token: str) -> Response:
    """Ask what to stop, or tell what is stopped and offer to undo it."""
    standing = None if token == EXAMPLE_TOKEN else await found.standing(token)
    return pages.render(request, "unsubscribe.html", headers=_HEADERS, token=token, standing=standing)


@router.post("/{token}")
async def decide(request: Request, found: OptOutsDep, token: str) -> Response:
    """Stop or resume: from the page, or at one click by a mail program (RFC 8058: no session, no token of a form)."""
    form = await read_form(request)
    address = client_of(request).address
    if field(form, "List-Unsubscribe") == "One-Click":
        await found.one_click(token, address)
        return pages.render(
            request, "unsubscribe.html", headers=_HEADERS, token=token, standing=await found.standing(token)
        )
    if field(form, "choice") not in set(Choice):
        raise NotFound
    await found.choose(token, Choice(field(form, "choice")), address)
    return pages.redirect(f"/unsubscribe/{token}")
