"""Names and links that lead out of a tenant's directory: nothing of another's is read, nothing is written outside."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from elink_app.files import UnsafePath, ensure_tenant_directory
from elink_app.templates import images
from elink_app.transfer.store import FileStore, Shelf

from tests.tenant_app.support import World
from tests.tenant_app.transfer.support import make_bench, person, table
from tests.tenant_app.transfer.test_pages import master

pytestmark = pytest.mark.postgres

ODD = [
    "..", "../x", "%2e%2e%2fx", "..%2fx", "..%5cx", "/etc/passwd", "//etc/passwd", "x\0.png", "%00", "a" * 26 + ".svg",
    "a" * 26 + ".png/..", "a" * 26 + ".png%00", ".", "a" * 26 + ".PNG", "~", "con", "a" * 5000,
]  # fmt: skip


async def test_no_name_of_an_image_leads_out(world: World) -> None:
    bench = await make_bench(world)
    other = await make_bench(world)
    tenants = world.server.settings.tenants_dir
    name = "b" * 26 + ".png"
    images.write(tenants, other.tenant.directory, name, b"secret of another")
    browser = world.browser(bench.tenant.host)
    ways = [
        *ODD,
        f"../../{other.tenant.directory}/img/{name}",
        f"..%2f..%2f{other.tenant.directory}%2fimg%2f{name}",
        name,
    ]
    # A NUL as such no client can send.
    for odd in (way for way in ways if "\0" not in way):
        request = httpx.Request("GET", f"https://{bench.tenant.host}/")
        request.url = request.url.copy_with(raw_path=b"/files/img/" + odd.encode())
        answer = await browser.client.send(request)
        assert answer.status_code in (400, 404, 405, 414, 422), odd
        assert b"secret" not in answer.content, odd
    for odd in ODD:
        assert images.read(tenants, bench.tenant.directory, odd) is None
        with pytest.raises((ValueError, UnsafePath)):
            FileStore(tenants).path(bench.tenant, Shelf.EXPORTS, odd)


async def test_links_within_the_directory_are_not_followed(world: World, tmp_path: Path) -> None:
    bench = await make_bench(world)
    tenants = world.server.settings.tenants_dir
    secret = tmp_path / "secret"
    secret.write_text("secret of the machine")
    home = ensure_tenant_directory(tenants, bench.tenant.directory)
    name = "c" * 26 + ".png"
    (home / "img").mkdir(exist_ok=True)
    (home / "img" / name).symlink_to(secret)
    assert images.read(tenants, bench.tenant.directory, name) is None
    # An export whose file was exchanged for a link.
    me = await master(bench)
    await bench.imported(table(person("山田", "y@example.jp")))
    job = (await me.api("POST", "/api/v1/exports", json={})).json()["job"]
    await bench.work()
    file = bench.store.path(bench.tenant, Shelf.EXPORTS, (await bench.job(job))["result"]["file"])
    assert "山田" in (await me.get(f"/exports/{job}/file")).text
    file.unlink()
    file.symlink_to(secret)
    answer = await me.get(f"/exports/{job}/file")
    assert answer.status_code == 404
    assert "secret" not in answer.text
    # The whole directory of a tenant exchanged for a link.
    (tenants / "linked").symlink_to(tmp_path)
    with pytest.raises(UnsafePath):
        ensure_tenant_directory(tenants, "linked")
