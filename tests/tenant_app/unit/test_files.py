"""Directories of tenants stay under one folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from elink_app.files import UnsafePath, ensure_tenant_directory, tenant_path


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "/a", "a/", "A", "-a", "a-", "a" * 64, "a\n", "a\x00", "日本", "a.b", "~"]
)
def test_strange_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath):
        tenant_path(tmp_path, name)


def test_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "tenants"
    path = ensure_tenant_directory(folder, "acme")
    (path / "keep").write_text("x")
    path.chmod(0o755)
    assert ensure_tenant_directory(folder, "acme") == folder / "acme"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert (path / "keep").read_text() == "x"


def test_a_link_or_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(UnsafePath):
            ensure_tenant_directory(tmp_path, name)
