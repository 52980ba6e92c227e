"""A delivery's row as the content of its mails."""

from __future__ import annotations

from collections.abc import Mapping

from elink_app.deliveries.models import Delivery
from elink_app.deliveries.states import Category
from elink_app.mail.compose import Content


def content_of(row: Delivery, links: Mapping[str, int], files: tuple[bytes, ...]) -> Content:
    """What is the same for all recipients; `links` and `files` as `Content` has them."""
    return Content(
        subject=row.subject,
        text=row.text_body,
        html=row.html_body,
        from_address=row.from_address,
        from_name=row.from_name,
        reply_to=row.reply_to,
        fields=tuple(row.fields),
        one_click=row.category == Category.ADVERT,
        links=links,
        files=files,
    )
