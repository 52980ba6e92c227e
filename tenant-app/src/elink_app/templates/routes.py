"""Pages of templates and images, and the images themselves."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from elink_app.accounts.permissions import Permission, Principal
from elink_app.addresses import service as addresses
from elink_app.addresses.deps import BookDep
from elink_app.addresses.schemas import AddressOutput
from elink_app.addresses.service import AddressBook
from elink_app.errors import EditConflict, InvalidInput, NotFound
from elink_app.messages import N_, Message
from elink_app.sentforms.deps import OnceDep
from elink_app.templates import images
from elink_app.templates.deps import ImagesDep, MayEditTemplates, TemplatesDep
from elink_app.templates.schemas import Preview, TemplateInput, TemplateOutput, TemplateUpdate
from elink_app.templates.service import Templates
from elink_app.validation import field_errors
from elink_app.web import deletions, pages, previews
from elink_app.web.deps import ActorDep, StateDep, TenantDep
from elink_app.web.forms import field, read_form

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
AddressChoice = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
Search = Annotated[str, Query(max_length=200)]
Version = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
_FIELDS = ("name", "subject", "text_body", "layout", "source")
_CHOICES = 10
_IMAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Cache-Control": "public, max-age=31536000, immutable",
}


@router.get("/files/img/{name}")
async def image_file(state: StateDep, tenant: TenantDep, name: str) -> Response:
    """A picture of a mail. Mail programs have no log-in: its name is the key to it."""
    content = await asyncio.to_thread(images.read, state.settings.tenants_dir, tenant.directory, name)
    if content is None:
        raise NotFound
    return Response(content, media_type=images.MEDIA_TYPES[name.rpartition(".")[2]], headers=_IMAGE_HEADERS)


@router.get("/templates")
async def template_list(
    request: Request, principal: MayEditTemplates, templates: TemplatesDep, kept: ImagesDep, notice: str = ""
) -> Response:
    """Templates and images."""
    return await _list(request, principal, templates, kept, notice=notice)


async def _list(
    request: Request,
    principal: Principal,
    templates: TemplatesDep,
    kept: ImagesDep,
    *,
    notice: str = "",
    errors: pages.FormErrors | None = None,
) -> Response:
    return pages.render(
        request,
        "templates.html",
        principal=principal,
        status=422 if errors else 200,
        path="/templates",
        templates=await templates.all(),
        images=await kept.all(),
        max_kilobytes=images.MAX_BYTES // 1000,
        errors=errors or pages.FormErrors(),
        notice_name=notice,
    )


@router.post("/templates/images")
async def upload(
    request: Request, principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, kept: ImagesDep,
    once: OnceDep,
) -> Response:  # fmt: skip
    """Add an image."""
    file = (await read_form(request)).get("image")
    content = await file.read(images.MAX_BYTES + 1) if isinstance(file, UploadFile) else b""
    title = (file.filename or "") if isinstance(file, UploadFile) else ""
    try:
        await kept.add(actor, title, content)
    except InvalidInput as error:
        return await _list(request, principal, templates, kept, errors=pages.FormErrors(error.errors))
    return await once.redirect("/templates?notice=image-added#images")


@router.get("/templates/images/{image_id}/delete")
async def ask_to_delete_image(
    request: Request, principal: MayEditTemplates, kept: ImagesDep, image_id: Id
) -> Response:  # fmt: skip
    """What goes with an image."""
    found = await kept.get(image_id)
    points = [Message(N_("Templates and mails that show it no longer do, also mails that were sent."))]
    question = Message(N_("Delete the image %(name)s?"), {"name": found.title})
    asked = deletions.Deletion(question, "/templates#images", [*points, deletions.FINAL])
    return deletions.ask(request, principal, asked)


@router.post("/templates/images/{image_id}/delete")
async def delete_image(_principal: MayEditTemplates, actor: ActorDep, kept: ImagesDep, image_id: Id) -> Response:
    """Delete an image."""
    await kept.remove(actor, image_id)
    return pages.redirect("/templates?notice=image-deleted#images")


@router.get("/templates/new")
async def new_form(request: Request, principal: MayEditTemplates, templates: TemplatesDep) -> Response:
    """An empty form."""
    return await _form(
        request, principal, templates, None, {**dict.fromkeys(_FIELDS, ""), "layout": "none", "version": ""}
    )


@router.post("/templates")
async def create(
    request: Request, principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, once: OnceDep
) -> Response:
    """Add a template."""
    form = await read_form(request)
    try:
        made = await templates.create(actor, TemplateInput.model_validate(_input(form, with_version=False)))
    except (ValidationError, InvalidInput) as error:
        return await _again(request, principal, templates, None, form, error)
    return await once.redirect(f"/templates/{made.id}?notice=saved")


@router.post("/templates/preview/frame")
async def unsaved_frame(request: Request, _principal: MayEditTemplates, templates: TemplatesDep) -> Response:
    """What is written and not saved yet, with an example in place of a person, for the frame in the form."""
    form = await read_form(request)
    try:
        # A title is not needed to look at a mail.
        data = TemplateInput.model_validate({**_input(form, with_version=False), "name": "-"})
        shown = await templates.preview_of(data)
    except (ValidationError, InvalidInput) as error:
        wrong = error.errors if isinstance(error, InvalidInput) else field_errors(error.errors())
        page = pages.render(request, "preview_frame.html", preview=None, errors=wrong)
        return previews.frame(page.body, status=422)
    if shown.html:
        return previews.frame(shown.html)
    return previews.frame(pages.render(request, "preview_frame.html", preview=shown, errors=[]).body)


@router.get("/templates/{template_id}")
async def edit_form(
    request: Request,
    principal: MayEditTemplates,
    templates: TemplatesDep,
    template_id: Id,
    version: Version = None,
    notice: str = "",
) -> Response:
    """The form with the newest version, or with the text of an old one to be saved anew."""
    newest = await templates.get(template_id)
    shown = await templates.get(template_id, version) if version else newest
    values = {**shown.model_dump(mode="json", include=set(_FIELDS)), "version": str(newest.version)}
    return await _form(
        request,
        principal,
        templates,
        newest,
        values,
        versions=await templates.versions(template_id),
        notice=notice,
        shown=shown,
    )


@router.post("/templates/{template_id}")
async def save(
    request: Request, principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, template_id: Id,
    once: OnceDep,
) -> Response:  # fmt: skip
    """Save a new version."""
    form = await read_form(request)
    saved = await templates.get(template_id)
    try:
        await templates.update(actor, template_id, TemplateUpdate.model_validate(_input(form, with_version=True)))
    except (ValidationError, InvalidInput, EditConflict) as error:
        return await _again(request, principal, templates, saved, form, error, await templates.versions(template_id))
    return await once.redirect(f"/templates/{template_id}?notice=saved")


@router.get("/templates/{template_id}/delete")
async def ask_to_delete(
    request: Request, principal: MayEditTemplates, templates: TemplatesDep, template_id: Id
) -> Response:  # fmt: skip
    """What goes with a template."""
    found = await templates.get(template_id)
    points = [
        Message(N_("All its versions go. Deliveries that were begun with it keep their texts.")),
    ]
    question = Message(N_("Delete the template %(name)s?"), {"name": found.name})
    asked = deletions.Deletion(question, f"/templates/{template_id}", [*points, deletions.FINAL])
    return deletions.ask(request, principal, asked)


@router.post("/templates/{template_id}/delete")
async def delete(_principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, template_id: Id) -> Response:
    """Delete a template."""
    await templates.delete(actor, template_id)
    return pages.redirect("/templates?notice=deleted")


@router.get("/templates/{template_id}/preview")
async def preview(
    request: Request,
    principal: MayEditTemplates,
    templates: TemplatesDep,
    book: BookDep,
    template_id: Id,
    address: AddressChoice = None,
    q: Search = "",
) -> Response:
    """Both parts as one person would see them."""
    template = await templates.get(template_id)
    person = await chosen_address(principal, book, address)
    shown = await templates.preview(template_id, person)
    return await preview_page(request, principal, book, template.name, f"/templates/{template_id}", shown, person, q)


@router.get("/templates/{template_id}/preview/frame")
async def preview_frame(
    principal: MayEditTemplates,
    templates: TemplatesDep,
    book: BookDep,
    template_id: Id,
    address: AddressChoice = None,
) -> Response:
    """The HTML part, for the frame in the preview."""
    person = await chosen_address(principal, book, address)
    return previews.frame((await templates.preview(template_id, person)).html)


async def preview_page(
    request: Request, principal: Principal, book: AddressBook, title: str, back: str, preview: Preview,
    person: AddressOutput | None, q: str,
) -> Response:  # fmt: skip
    """Both parts of a mail, and a search for somebody else to see it as; `back` is the page of what it is made from."""
    return pages.render(
        request,
        "mail_preview.html",
        principal=principal,
        headers=previews.PAGE_HEADERS,
        title=title,
        back=back,
        here=request.url.path,
        preview=preview,
        person=person,
        q=q,
        found=await _found_addresses(principal, book, q),
        may_choose=principal.may(Permission.ADDRESSES_VIEW),
    )


async def chosen_address(principal: Principal, book: AddressBook, address: int | None) -> AddressOutput | None:
    """The address that a preview is for, as far as the account may see it; raises NotFound."""
    if address is None:
        return None
    if not principal.may(Permission.ADDRESSES_VIEW):
        raise NotFound
    return await book.get(address)


async def _found_addresses(principal: Principal, book: AddressBook, q: str) -> list[AddressOutput]:
    """A few addresses to choose from."""
    text = q.replace("\0", "").strip()
    if not text or not principal.may(Permission.ADDRESSES_VIEW):
        return []
    return (await book.page(addresses.Query(text, size=_CHOICES))).items


def _input(form: FormData, *, with_version: bool) -> dict[str, Any]:
    values: dict[str, Any] = {name: field(form, name) for name in _FIELDS}
    version = field(form, "version")
    if with_version and version.isascii() and version.isdigit() and 0 < int(version[:19]) < 2**63:
        values["version"] = int(version[:19])
    return values


async def _again(
    request: Request,
    principal: Principal,
    templates: Templates,
    saved: TemplateOutput | None,
    form: FormData,
    error: ValidationError | InvalidInput | EditConflict,
    versions: Any = (),
) -> Response:
    values = {name: field(form, name) for name in (*_FIELDS, "version")}
    if isinstance(error, EditConflict):
        # Saving once more is then a decision: the versions below show what the other one wrote.
        values["version"] = str(saved.version) if saved else ""
        return await _form(
            request, principal, templates, saved, values, problem=error.detail, status=409, versions=versions
        )
    wrong = error.errors if isinstance(error, InvalidInput) else field_errors(error.errors())
    return await _form(
        request, principal, templates, saved, values, errors=pages.FormErrors(wrong), status=422, versions=versions
    )


async def _form(
    request: Request,
    principal: Principal,
    templates: Templates,
    saved: TemplateOutput | None,
    values: dict[str, Any],
    *,
    errors: pages.FormErrors | None = None,
    problem: Message | None = None,
    status: int = 200,
    versions: Any = (),
    notice: str = "",
    shown: TemplateOutput | None = None,
) -> Response:
    return pages.render(
        request,
        "template_form.html",
        principal=principal,
        status=status,
        headers=previews.PAGE_HEADERS,
        saved=saved,
        shown=shown or saved,
        values=values,
        errors=errors or pages.FormErrors(),
        problem=problem,
        versions=versions,
        fields=sorted(await templates.known_fields()),
        notice_name=notice,
    )
