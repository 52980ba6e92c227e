"""All SQL of templates and images."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from elink_app.deliveries.models import Template
from elink_app.templates.models import Image, TemplateVersion


class TemplateRepository:
    """Reads and writes within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def all(self, limit: int) -> Sequence[Template]:
        """Live templates, the newest first."""
        statement = select(Template).where(Template.deleted_at.is_(None))
        statement = statement.order_by(Template.updated_at.desc(), Template.id.desc()).limit(limit)
        return (await self._session.scalars(statement)).all()

    async def count(self) -> int:
        """How many live templates there are."""
        statement = select(func.count()).select_from(Template).where(Template.deleted_at.is_(None))
        return await self._session.scalar(statement) or 0

    async def get(self, template_id: int, *, lock: bool = False) -> Template | None:
        """A live template; `lock` holds it until the end of the transaction."""
        statement = select(Template).where(Template.id == template_id, Template.deleted_at.is_(None))
        if lock:
            statement = statement.with_for_update().execution_options(populate_existing=True)
        return (await self._session.scalars(statement)).one_or_none()

    async def add(self, template: Template) -> None:
        """Insert a new template."""
        self._session.add(template)
        await self._session.flush()

    async def add_version(self, version: TemplateVersion) -> None:
        """Keep a version."""
        self._session.add(version)
        await self._session.flush()

    async def version(self, template_id: int, version: int) -> TemplateVersion | None:
        """One saved version."""
        return await self._session.get(TemplateVersion, (template_id, version))

    async def versions(self, template_id: int, limit: int) -> Sequence[TemplateVersion]:
        """The newest versions first."""
        statement = select(TemplateVersion).where(TemplateVersion.template_id == template_id)
        statement = statement.order_by(TemplateVersion.version.desc()).limit(limit)
        return (await self._session.scalars(statement)).all()

    async def mark_deleted(self, template_id: int, when: datetime) -> None:
        """Delete softly."""
        await self._session.execute(update(Template).where(Template.id == template_id).values(deleted_at=when))

    async def images(self, limit: int) -> Sequence[Image]:
        """Images, the newest first."""
        return (await self._session.scalars(select(Image).order_by(Image.id.desc()).limit(limit))).all()

    async def count_images(self) -> tuple[int, int]:
        """How many images there are, and their bytes together."""
        statement = select(func.count(), func.coalesce(func.sum(Image.size), 0)).select_from(Image)
        count, size = (await self._session.execute(statement)).one()
        return int(count), int(size)

    async def add_image(self, image: Image) -> None:
        """Insert a new image."""
        self._session.add(image)
        await self._session.flush()

    async def image(self, image_id: int) -> Image | None:
        """One image."""
        return await self._session.get(Image, image_id)

    async def remove_image(self, image_id: int) -> None:
        """Forget an image; its file is the caller's."""
        await self._session.execute(delete(Image).where(Image.id == image_id))
