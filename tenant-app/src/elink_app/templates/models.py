"""What templates keep beside their newest text: every saved version, and uploaded images."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from elink_app.database.base import Base


class TemplateVersion(Base):
    """A template as it was saved; version n of it is never changed. `source` is in the language `layout`."""

    __tablename__ = "template_version"

    template_id: Mapped[int] = mapped_column(ForeignKey("template.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(500))
    text_body: Mapped[str] = mapped_column(Text)
    layout: Mapped[str] = mapped_column(String(10))
    source: Mapped[str] = mapped_column(Text)
    saved_by_name: Mapped[str] = mapped_column(String(320))
    saved_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Image(Base):
    """A picture for mails; the file is `img/<name>` in the tenant's directory. The name cannot be guessed."""

    __tablename__ = "image"
    __table_args__ = (Index("uq_image_name", "name", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    title: Mapped[str] = mapped_column(String(200))
    media_type: Mapped[str] = mapped_column(String(20))
    size: Mapped[int]
    uploaded_by_name: Mapped[str] = mapped_column(String(320))
    uploaded_at: Mapped[datetime] = mapped_column(server_default=func.now())
