"""The pages of the manual, for everybody who is logged in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from elink_app.errors import NotFound
from elink_app.manual import library
from elink_app.web import pages
from elink_app.web.deps import PrincipalDep
from elink_app.web.state import translator_of

router = APIRouter(include_in_schema=False)


@router.get("/manual")
async def contents(
    request: Request, principal: PrincipalDep, q: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Contents, or what a search found."""
    language = translator_of(request).language
    found = library.search(language, q)
    return pages.render(request, "manual.html", principal=principal, all=library.pages(language), found=found, q=q)


@router.get("/manual/{name}")
async def page(
    request: Request, principal: PrincipalDep, name: Annotated[str, Path(max_length=40, pattern=r"^[a-z-]+$")]
) -> Response:
    """One page."""
    found = library.find(translator_of(request).language, name)
    if found is None:
        raise NotFound
    return pages.render(request, "manual_page.html", principal=principal, page=found)


@router.get("/manual/pictures/{language}/{name}")
async def picture(
    _principal: PrincipalDep,
    language: Annotated[str, Path(max_length=2, pattern=r"^[a-z]+$")],
    name: Annotated[str, Path(max_length=30, pattern=r"^[a-z0-9.-]+$")],
) -> Response:
    """A picture in one of the pages."""
    found = library.picture(language, name)
    if found is None:
        raise NotFound
    return Response(found, media_type="image/webp", headers={"Cache-Control": "private, max-age=86400"})
