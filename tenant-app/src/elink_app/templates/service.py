"""The rules of templates and images. Pages and API call these and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.addresses.schemas import AddressOutput
from elink_app.attributes.service import definitions
from elink_app.audit.service import Actor, record
from elink_app.clock import JST, Clock
from elink_app.deliveries.models import Template
from elink_app.errors import EditConflict, FieldError, InvalidInput, NotFound
from elink_app.mail.compose import unsubscribe_url
from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD
from elink_app.registry.tenant import Tenant
from elink_app.templates import images
from elink_app.templates.fields import BUILT_IN, check_placeholders, custom_names, fill, values_of
from elink_app.templates.layout import Layout, LayoutError, to_text
from elink_app.templates.models import Image, TemplateVersion
from elink_app.templates.rendering import render_confined
from elink_app.templates.repository import TemplateRepository
from elink_app.templates.schemas import (
    ImageOutput,
    Preview,
    TemplateInput,
    TemplateOutput,
    TemplateUpdate,
    TemplateVersionOutput,
)
from elink_app.validation import field_error

LIST_SIZE = 200
MAX_TEMPLATES = 200
EXAMPLE_TOKEN = "example"  # noqa: S105 - what stands for a token in previews and test mails
_VERSIONS = 100


@dataclass(frozen=True)
class Content:
    """Checked sources of a mail: `html` is clean, `text` is never empty when `html` is not."""

    subject: str
    text: str
    html: str


async def custom_fields(db: AsyncSession) -> dict[str, str]:
    """The tenant's own fields that mails may use: name -> key."""
    return custom_names(await definitions(db))


async def check_content(
    subject: str, text_body: str, layout: Layout, source: str, *, known: frozenset[str], base_url: str
) -> Content:
    """Make the parts of a mail from what was written; raises InvalidInput with every mistake."""
    errors: list[FieldError] = []
    html = ""
    try:
        html = await render_confined(layout, source, base_url=base_url)
    except LayoutError as error:
        errors.append(field_error(("source",), error.code))
    for name, value in (("subject", subject), ("text_body", text_body), ("source", html or source)):
        errors += check_placeholders(name, value, known)
    if errors:
        raise InvalidInput(errors)
    return Content(subject, text_body or (to_text(html) if html else ""), html)


def preview_of(content: Content, address: AddressOutput | None, custom: Mapping[str, str], link: str) -> Preview:
    """The mail as `address` (None: an example) would see it; `link` stands for the one to unsubscribe."""
    values = {**values_of(address, custom), UNSUBSCRIBE_FIELD: link}
    return Preview(
        subject=fill(content.subject, values, one_line=True),
        text=fill(content.text, values),
        html=fill(content.html, values, in_html=True),
    )


def to_output(template: Template, version: TemplateVersion) -> TemplateOutput:
    """A template as it is shown."""
    return TemplateOutput(
        id=template.id,
        version=version.version,
        name=version.name,
        subject=version.subject,
        text_body=version.text_body,
        layout=Layout(version.layout),
        source=version.source,
        updated_at=version.saved_at.astimezone(JST),
    )


class Templates:
    """The templates of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, tenant: Tenant, clock: Clock, base_url: str) -> None:
        self._db = session
        self._rows = TemplateRepository(session)
        self._tenant = tenant
        self._clock = clock
        self._base_url = base_url

    async def all(self) -> Sequence[TemplateOutput]:
        """Every template in its newest version, the newest first."""
        return [await self._newest(row) for row in await self._rows.all(LIST_SIZE)]

    async def get(self, template_id: int, version: int | None = None) -> TemplateOutput:
        """A template, in its newest version or in `version`; raises NotFound."""
        row = await self._load(template_id)
        if version is None:
            return await self._newest(row)
        found = await self._rows.version(row.id, version)
        if found is None:
            raise NotFound
        return to_output(row, found)

    async def versions(self, template_id: int) -> Sequence[TemplateVersionOutput]:
        """What was saved, the newest first; raises NotFound."""
        row = await self._load(template_id)
        return [
            TemplateVersionOutput(
                version=kept.version,
                name=kept.name,
                saved_by=kept.saved_by_name,
                saved_at=kept.saved_at.astimezone(JST),
            )
            for kept in await self._rows.versions(row.id, _VERSIONS)
        ]

    async def create(self, actor: Actor, data: TemplateInput) -> TemplateOutput:
        """Add a template; raises InvalidInput."""
        if await self._rows.count() >= MAX_TEMPLATES:
            raise InvalidInput([field_error(("name",), "too_many_templates", max=MAX_TEMPLATES)])
        content = await self.content(data)
        row = Template(version=1, created_at=self._clock())
        return await self._save(actor, "template.create", row, data, content)

    async def update(self, actor: Actor, template_id: int, data: TemplateUpdate) -> TemplateOutput:
        """Save a new version; raises NotFound, InvalidInput, or EditConflict when `data.version` is not the newest."""
        row = await self._load(template_id, lock=True)
        if data.version is not None and data.version != row.version:
            raise EditConflict
        content = await self.content(data)
        row.version += 1
        return await self._save(actor, "template.save", row, data, content)

    async def delete(self, actor: Actor, template_id: int) -> None:
        """Take a template out of the list; deliveries made from it stay as they are. Raises NotFound."""
        row = await self._load(template_id, lock=True)
        await self._rows.mark_deleted(row.id, self._clock())
        await record(
            self._db, actor, "template.delete", kind="template", key=str(row.id), before={"name": row.name},
            now=self._clock(),
        )  # fmt: skip

    async def content(self, data: TemplateInput) -> Content:
        """The checked parts; raises InvalidInput."""
        known = await self.known_fields()
        return await check_content(
            data.subject, data.text_body, data.layout, data.source, known=known, base_url=self._base_url
        )

    async def known_fields(self) -> frozenset[str]:
        """Names that placeholders may use."""
        return frozenset(BUILT_IN) | frozenset(await custom_fields(self._db))

    async def preview(self, template_id: int, address: AddressOutput | None, version: int | None = None) -> Preview:
        """The template as a person would see it; raises NotFound, or InvalidInput for an old text with a lost field."""
        return await self.preview_of(_input(await self.get(template_id, version)), address)

    async def preview_of(self, data: TemplateInput, address: AddressOutput | None = None) -> Preview:
        """The same for what is not saved; raises InvalidInput."""
        content = await self.content(data)
        link = unsubscribe_url(self._base_url, EXAMPLE_TOKEN)
        return preview_of(content, address, await custom_fields(self._db), link)

    async def _save(
        self, actor: Actor, action: str, row: Template, data: TemplateInput, content: Content
    ) -> TemplateOutput:
        now = self._clock()
        row.name, row.subject, row.text_body, row.html_body = data.name, data.subject, content.text, content.html
        row.mjml = data.source if data.layout is Layout.MJML else ""
        row.updated_at = now
        await self._rows.add(row)
        kept = TemplateVersion(
            template_id=row.id, version=row.version, name=data.name, subject=data.subject, text_body=data.text_body,
            layout=data.layout.value, source=data.source, saved_by_name=actor.name, saved_at=now,
        )  # fmt: skip
        await self._rows.add_version(kept)
        await record(
            self._db, actor, action, kind="template", key=str(row.id),
            after={"name": data.name, "version": row.version}, now=now,
        )  # fmt: skip
        return to_output(row, kept)

    async def _newest(self, row: Template) -> TemplateOutput:
        kept = await self._rows.version(row.id, row.version)
        if kept is None:
            raise NotFound
        return to_output(row, kept)

    async def _load(self, template_id: int, *, lock: bool = False) -> Template:
        row = await self._rows.get(template_id, lock=lock)
        if row is None:
            raise NotFound
        return row


def _input(template: TemplateOutput) -> TemplateInput:
    return TemplateInput.model_construct(
        name=template.name, subject=template.subject, text_body=template.text_body, layout=template.layout,
        source=template.source,
    )  # fmt: skip


class Images:
    """The images of one tenant within one transaction."""

    def __init__(self, session: AsyncSession, tenant: Tenant, clock: Clock, tenants_dir: Path) -> None:
        self._db = session
        self._rows = TemplateRepository(session)
        self._tenant = tenant
        self._clock = clock
        self._tenants_dir = tenants_dir

    async def all(self) -> Sequence[ImageOutput]:
        """Every image, the newest first."""
        return [_image(row) for row in await self._rows.images(images.MAX_IMAGES)]

    async def get(self, image_id: int) -> ImageOutput:
        """One image; raises NotFound."""
        return _image(await self._load(image_id))

    async def add(self, actor: Actor, title: str, content: bytes) -> ImageOutput:
        """Keep an image; raises InvalidInput for what is none, for one too large, and when there are too many."""
        ending = images.kind_of(content)
        if ending is None:
            raise InvalidInput([field_error(("image",), "image_kind")])
        if len(content) > images.MAX_BYTES:
            raise InvalidInput([field_error(("image",), "image_large", max_kilobytes=images.MAX_BYTES // 1000)])
        count, used = await self._rows.count_images()
        limit = self._tenant.limits.storage_bytes
        if count >= images.MAX_IMAGES or (limit is not None and used + len(content) > limit):
            raise InvalidInput([field_error(("image",), "image_room")])
        now = self._clock()
        shown = "".join(character for character in title if character.isprintable())[:200]
        row = Image(
            name=images.new_name(ending), title=shown or f"image.{ending}", media_type=images.MEDIA_TYPES[ending],
            size=len(content), uploaded_by_name=actor.name, uploaded_at=now,
        )  # fmt: skip
        await self._rows.add_image(row)
        await record(
            self._db, actor, "image.add", kind="image", key=str(row.id), after={"title": row.title, "size": row.size},
            now=now,
        )  # fmt: skip
        # Last: a file without a row is nobody's, a row without a file would be a broken picture.
        await asyncio.to_thread(images.write, self._tenants_dir, self._tenant.directory, row.name, content)
        return _image(row)

    async def remove(self, actor: Actor, image_id: int) -> None:
        """Delete an image for good: mails that show it will not any more. Raises NotFound."""
        row = await self._load(image_id)
        await self._rows.remove_image(row.id)
        await record(
            self._db, actor, "image.delete", kind="image", key=str(row.id), before={"title": row.title},
            now=self._clock(),
        )  # fmt: skip
        await asyncio.to_thread(images.remove, self._tenants_dir, self._tenant.directory, row.name)

    async def _load(self, image_id: int) -> Image:
        row = await self._rows.image(image_id)
        if row is None:
            raise NotFound
        return row


def _image(row: Image) -> ImageOutput:
    return ImageOutput(
        id=row.id, title=row.title, path=f"/files/img/{row.name}", media_type=row.media_type, size=row.size,
        uploaded_at=row.uploaded_at.astimezone(JST),
    )  # fmt: skip
