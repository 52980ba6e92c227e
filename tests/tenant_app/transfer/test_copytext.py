"""What COPY reads is what was written: every character that means something to it, in text and in arrays."""

from __future__ import annotations

from io import BytesIO

import pytest
from elink_app.transfer.copytext import bigint_array, fields, text_array

from tests.tenant_app.support import World

TEXTS = [
    "",
    "山田　太郎",
    "a\tb\nc\rd",
    "\\N",
    "\\.",
    '"{},\\" NULL',
    "NULL",
    "'; DROP TABLE x --",
    "{}",
    " ",
    "\x0b\x85\u2028",
]


@pytest.mark.postgres
async def test_copy_gives_back_what_was_written(world: World) -> None:
    tenant = await world.tenant()
    async with world.server.inside(tenant.database) as inside:
        await inside.execute("CREATE TEMP TABLE t (id bigint, one text, many text[], numbers bigint[])")
        lines = [
            fields((str(n), text, text_array([text, *TEXTS]), bigint_array([n, 7]))) + "\n"
            for n, text in enumerate(TEXTS)
        ]
        await inside.copy_to_table("t", source=BytesIO("".join(lines).encode()), format="text")
        rows = await inside.fetch("SELECT * FROM t ORDER BY id")
    assert [row["one"] for row in rows] == TEXTS
    assert [row["many"] for row in rows] == [[text, *TEXTS] for text in TEXTS]
    assert [row["numbers"] for row in rows] == [[n, 7] for n in range(len(TEXTS))]


def test_empty_arrays() -> None:
    assert text_array([]) == "{}"
    assert bigint_array([]) == "{}"
    assert fields(("1", text_array([""]))) == '1\t{""}'
