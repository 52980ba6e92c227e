"""`/api/v1/templates` and `/api/v1/images`: the same rules as the pages, as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from elink_app.addresses.deps import BookDep
from elink_app.templates.deps import ImagesDep, MayEditTemplates, TemplatesDep
from elink_app.templates.routes import chosen_address
from elink_app.templates.schemas import (
    ImageOutput,
    Preview,
    TemplateInput,
    TemplateOutput,
    TemplateUpdate,
    TemplateVersionOutput,
)
from elink_app.web.deps import ActorDep
from elink_app.web.openapi import problems

router = APIRouter(prefix="/api/v1", tags=["templates"], responses=problems(401, 403, 503))

Id = Annotated[int, Path(ge=1, le=2**63 - 1, examples=[1])]
Version = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="An old version; without it the newest")]


@router.get("/templates")
async def list_templates(_principal: MayEditTemplates, templates: TemplatesDep) -> list[TemplateOutput]:
    """Every template in its newest version, the newest first (200 at most)."""
    return list(await templates.all())


@router.post("/templates", status_code=status.HTTP_201_CREATED, responses=problems(422))
async def create_template(
    _principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, data: TemplateInput, response: Response
) -> TemplateOutput:
    """Add a template. 422 names each field that placeholders ask for and that there is not."""
    made = await templates.create(actor, data)
    response.headers["Location"] = f"/api/v1/templates/{made.id}"
    return made


@router.get("/templates/{template_id}", responses=problems(404, 422))
async def get_template(
    _principal: MayEditTemplates, templates: TemplatesDep, template_id: Id, version: Version = None
) -> TemplateOutput:
    """One template."""
    return await templates.get(template_id, version)


@router.put("/templates/{template_id}", responses=problems(404, 409, 422))
async def update_template(
    _principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, template_id: Id, data: TemplateUpdate
) -> TemplateOutput:
    """Save a new version. 409 when `version` is not the newest."""
    return await templates.update(actor, template_id, data)


@router.delete("/templates/{template_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422))
async def delete_template(
    _principal: MayEditTemplates, actor: ActorDep, templates: TemplatesDep, template_id: Id
) -> None:
    """Delete a template. Deliveries made from it stay as they are."""
    await templates.delete(actor, template_id)


@router.get("/templates/{template_id}/versions", responses=problems(404, 422))
async def list_versions(
    _principal: MayEditTemplates, templates: TemplatesDep, template_id: Id
) -> list[TemplateVersionOutput]:
    """The saved versions, the newest first (100 at most)."""
    return list(await templates.versions(template_id))


@router.get("/templates/{template_id}/preview", responses=problems(404, 422))
async def preview_template(
    principal: MayEditTemplates,
    templates: TemplatesDep,
    book: BookDep,
    template_id: Id,
    address: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Id of an address; else an example")] = None,
    version: Version = None,
) -> Preview:
    """The mail as one person would see it."""
    return await templates.preview(template_id, await chosen_address(principal, book, address), version)


@router.get("/images", tags=["images"])
async def list_images(_principal: MayEditTemplates, kept: ImagesDep) -> list[ImageOutput]:
    """Uploaded images, the newest first (500 at most)."""
    return list(await kept.all())


@router.post(
    "/images",
    tags=["images"],
    status_code=status.HTTP_201_CREATED,
    responses=problems(422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def add_image(
    request: Request,
    _principal: MayEditTemplates,
    actor: ActorDep,
    kept: ImagesDep,
    title: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")] = "",
) -> ImageOutput:
    """Upload a PNG, JPEG, GIF or WebP (900 kB at most) as the body. What it is, its first bytes tell."""
    return await kept.add(actor, title, await request.body())


@router.delete(
    "/images/{image_id}", tags=["images"], status_code=status.HTTP_204_NO_CONTENT, responses=problems(404, 422)
)
async def delete_image(_principal: MayEditTemplates, actor: ActorDep, kept: ImagesDep, image_id: Id) -> None:
    """Delete an image for good: mails that show it will not any more."""
    await kept.remove(actor, image_id)
