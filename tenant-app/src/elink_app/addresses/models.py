"""The address book: one row per person or organisation, e-mails and tags beside it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Numeric, SmallInteger, String, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from elink_app.database.base import Base

LIVE = text("deleted_at IS NULL")


class Address(Base):
    """What is computed from the other fields comes from `addresses.computed`; `tag_ids` from a trigger."""

    __tablename__ = "address"
    __table_args__ = (
        Index("ix_address_sort", "sort_key", "id", postgresql_where=LIVE),
        Index("ix_address_updated", text("updated_at DESC"), text("id DESC"), postgresql_where=LIVE),
        Index("ix_address_grams", "search_grams", postgresql_using="gin", postgresql_where=LIVE),
        Index("ix_address_tag_ids", "tag_ids", postgresql_using="gin", postgresql_where=LIVE),
        Index(
            "ix_address_attributes",
            "attributes",
            postgresql_using="gin",
            postgresql_ops={"attributes": "jsonb_path_ops"},
            postgresql_where=LIVE,
        ),
        Index("ix_address_name_form", "name_form", "company_form", postgresql_where=LIVE),
        Index(
            "ix_address_phone_digits",
            "phone_digits",
            postgresql_where=text("deleted_at IS NULL AND phone_digits <> ''"),
        ),
        Index("ix_address_created", "created_at", "id", postgresql_where=LIVE),
        Index("ix_address_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
        Index("ix_address_deleted_id", "id", postgresql_where=text("deleted_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    # Counts the saves: a form that was opened before somebody else's save is refused.
    version: Mapped[int] = mapped_column(server_default=text("1"))
    name: Mapped[str] = mapped_column(String(100))
    kana: Mapped[str] = mapped_column(String(100), server_default="")
    company: Mapped[str] = mapped_column(String(100), server_default="")
    phone: Mapped[str] = mapped_column(String(40), server_default="")
    postal_code: Mapped[str] = mapped_column(String(16), server_default="")
    postal_address: Mapped[str] = mapped_column(String(300), server_default="")
    notes: Mapped[str] = mapped_column(Text, server_default="")
    # Byte order: the key is made so that it gives the order of the fifty sounds on every locale.
    sort_key: Mapped[str] = mapped_column(Text(collation="C"))
    search_text: Mapped[str] = mapped_column(Text(collation="C"))
    search_grams: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))
    # Name and company in the form in which they are compared, the phone's digits: for duplicates and segments.
    name_form: Mapped[str] = mapped_column(Text(collation="C"), server_default="")
    company_form: Mapped[str] = mapped_column(Text(collation="C"), server_default="")
    phone_digits: Mapped[str] = mapped_column(Text(collation="C"), server_default="")
    # Values of the tenant's own fields by their key (attributes.models.Attribute).
    attributes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    # What address_tag says, sorted: one index answers for tags and labels together. Written by the trigger only.
    tag_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"), deferred=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deleted_at: Mapped[datetime | None]

    emails: Mapped[list[AddressEmail]] = relationship(
        lazy="raise", order_by="AddressEmail.position", cascade="all, delete-orphan", passive_deletes=True
    )
    tags: Mapped[list[Tag]] = relationship(lazy="raise", secondary="address_tag", order_by="Tag.name")


class AddressEmail(Base):
    """One e-mail of an address; position 0 is the one that is written to."""

    __tablename__ = "address_email"
    __table_args__ = (Index("ix_address_email_email_key", "email_key"),)

    address_id: Mapped[int] = mapped_column(ForeignKey("address.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    email_key: Mapped[str] = mapped_column(String(320))


class Tag(Base):
    """A word that groups addresses; `key` is the name in the form in which names are compared.

    With `is_label` it is an information label: only the roles of its `LabelRight`s reach the addresses that bear it.
    """

    __tablename__ = "tag"
    __table_args__ = (Index("uq_tag_key", "key", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    key: Mapped[str] = mapped_column(String(80))
    is_label: Mapped[bool] = mapped_column(server_default=text("false"))


class LabelRight(Base):
    """A role that may do `action` (see, export, send) with addresses that bear the label. The master always may."""

    __tablename__ = "label_right"
    __table_args__ = (Index("ix_label_right_role_id", "role_id"),)

    tag_id: Mapped[int] = mapped_column(ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[int] = mapped_column(ForeignKey("role.id", ondelete="CASCADE"), primary_key=True)
    action: Mapped[str] = mapped_column(String(10), primary_key=True)


class AddressTag(Base):
    """Which address bears which tag."""

    __tablename__ = "address_tag"
    __table_args__ = (Index("ix_address_tag_tag_id_address_id", "tag_id", "address_id"),)

    address_id: Mapped[int] = mapped_column(ForeignKey("address.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True)


class AddressValue(Base):
    """What `Address.attributes` says, a row for each value, in the column of its JSON type. Written by a trigger only.

    Deleted addresses keep their rows. One index answers every comparison without a look at the rows themselves. No
    foreign key: the trigger removes rows too, for less than a check of each.
    """

    __tablename__ = "address_value"
    __table_args__ = (Index("ix_address_value", "key", "number", "text", "flag", "address_id"),)

    address_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    number: Mapped[Decimal | None] = mapped_column(Numeric)
    text: Mapped[str | None] = mapped_column(Text(collation="C"))
    flag: Mapped[bool | None]


class AddressStanding(Base):
    """Consent and suppression of the first e-mail, for segments: what is kept by e-mail, by address. By triggers only.

    Addresses of which nothing was ever recorded have no row. Whether a mail may be sent is decided by the e-mail.
    """

    __tablename__ = "address_standing"
    __table_args__ = (
        Index("ix_address_standing_consent", "consent", "address_id"),
        Index("ix_address_standing_suppressed", "address_id", postgresql_where=text("suppressed")),
    )

    address_id: Mapped[int] = mapped_column(ForeignKey("address.id", ondelete="CASCADE"), primary_key=True)
    consent: Mapped[str | None] = mapped_column(String(10))
    suppressed: Mapped[bool] = mapped_column(server_default=text("false"))


class Usage(Base):
    """Exact counts kept by triggers, so that limits cost one row and not a scan. `addresses` = not deleted ones."""

    __tablename__ = "usage"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(server_default=text("0"))
