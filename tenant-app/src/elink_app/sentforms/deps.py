"""Once as a dependency of pages that make something."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from elink_app.errors import SentBefore
from elink_app.sentforms.service import SentForms, form_sha256
from elink_app.web import csrf, pages
from elink_app.web.deps import DbDep, PrincipalDep, StateDep
from elink_app.web.forms import field, read_form

FIELD = "form_key"


@dataclass(frozen=True)
class Once:
    """The form of this request. It is remembered only when it made something: a refused one may be sent again."""

    forms: SentForms
    form: bytes | None
    # Where this very form led before; None when it has not made anything yet.
    led_to: str | None = None

    async def redirect(self, path: str) -> Response:
        """The end of a form that made something; whoever sends it again is led to `path`, too."""
        await self.made(path)
        return pages.redirect(path)

    async def made(self, path: str) -> None:
        """The same where the answer is given later."""
        if self.form is not None:
            await self.forms.remember(self.form, path)


async def _typed(name: str, value: UploadFile | str) -> tuple[str, str]:
    """A field; for a file what it is called and what is in it."""
    if isinstance(value, str):
        return name, value
    await value.seek(0)
    digest = hashlib.sha256(await value.read()).hexdigest()
    await value.seek(0)
    return name, f"{value.filename or ''}\0{digest}"


async def sent(request: Request, principal: PrincipalDep, db: DbDep, state: StateDep) -> Once:
    """The form, for a route that says itself what is done when it was sent before."""
    form = await read_form(request)
    typed = [await _typed(*one) for one in form.multi_items() if one[0] not in (csrf.FIELD, FIELD)]
    forms = SentForms(db, principal.account_id, state.clock)
    key = form_sha256(field(form, FIELD), request.url.path, typed)
    return Once(forms, key, await forms.led_to(key) if key is not None else None)


SentDep = Annotated[Once, Depends(sent)]


async def once(form: SentDep) -> Once:
    """Raises SentBefore when this very form has been sent before and made something."""
    if form.led_to is not None:
        raise SentBefore(form.led_to)
    return form


async def once_of(forms: SentForms, sent: bytes | None) -> Once:
    """The same for a form that was read in another way."""
    return await once(Once(forms, sent, await forms.led_to(sent) if sent is not None else None))


OnceDep = Annotated[Once, Depends(once)]
