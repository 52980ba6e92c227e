"""Renders the HTML part of a mail in a confined process: no tenant's template stops the server of all."""

from __future__ import annotations

import asyncio
import sys
import tempfile

import orjson

from elink_app import confined
from elink_app.templates.layout import Layout, LayoutError, render

_MOST_BYTES = 4 << 20


async def render_confined(layout: Layout, source: str, *, base_url: str) -> str:
    """As `layout.render`; raises LayoutError also for what takes too long or too much memory."""
    if layout is Layout.NONE or not source.strip():
        return ""
    return await asyncio.to_thread(_ask, layout, source, base_url)


def _ask(layout: Layout, source: str, base_url: str) -> str:
    with tempfile.TemporaryFile() as output:
        try:
            confined.run(__name__, [layout.value, base_url], source.encode(), output)
        except confined.ConfinedError as error:
            raise LayoutError("html_heavy") from error
        output.seek(0)
        answer = orjson.loads(output.read())
    if "refused" in answer:
        raise LayoutError(answer["refused"])
    html: str = answer["html"]
    return html


def main() -> None:
    """The confined process: a source in, a clean document or a code out."""
    confined.confine(_MOST_BYTES)
    layout, base_url = sys.argv[1:]
    try:
        answer = {"html": render(Layout(layout), sys.stdin.buffer.read().decode(), base_url=base_url)}
    except LayoutError as error:
        answer = {"refused": error.code}
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
