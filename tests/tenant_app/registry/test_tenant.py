"""Reading of hosts and rows."""

from __future__ import annotations

from typing import Any

import pytest
from elink_app.registry.directory import TenantDirectory
from elink_app.registry.tenant import Limits, Tenant, TenantState, normalise_host, parse_limits, parse_tenant

ROW: dict[str, Any] = {
    "mail": '{"from": "info@acme.example"}', "contacts": "{}",
    "name": "acme", "uid": "u", "host": "Acme.Example", "database": "t_acme", "role": "t_acme", "directory": "acme",
    "state": "Active", "state_reason": None, "display_name": None, "language": "fr", "limits": '{"addresses": 5}',
    "master_email": None, "setup_token_sha256": "ABC", "setup_expires_at": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("a.example", "a.example"),
        ("A.Example:8443", "a.example"),
        ("a.example.", "a.example"),
        ("a.example.:80", "a.example"),
        ("a", "a"),
        ("xn--wgv71a.example", "xn--wgv71a.example"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a", None),
        ("a_b", None),
        ("日本.example", None),
        ("127.0.0.1", None),
        ("127.0.0.1:80", None),
        ("[::1]:80", None),
        ("::1", None),
        ("a.example:", None),
        ("a.example:999999", None),
        ("a\n", "a"),
        ("a\x00", None),
        ("a" * 64, None),
        (".".join(["a" * 60] * 5), None),
    ],
)
def test_normalise_host(header: str, host: str | None) -> None:
    assert normalise_host(header) == host


@pytest.mark.parametrize(
    ("raw", "limits"),
    [
        ('{"addresses": 1, "mailsPerHour": 2, "storageBytes": 3}', Limits(1, 2, 3)),
        ({"addresses": 0}, Limits(0)),
        ({"addresses": -1, "mailsPerHour": "9", "storageBytes": True}, Limits()),
        (None, Limits()),
        ("[]", Limits()),
    ],
)
def test_parse_limits(raw: object, limits: Limits) -> None:
    assert parse_limits(raw) == limits


def test_parse_tenant_fills_what_may_be_empty() -> None:
    tenant = parse_tenant(ROW)
    assert (tenant.host, tenant.display_name, tenant.language) == ("acme.example", "acme", "")
    assert (tenant.sender, tenant.mail.reply_to, tenant.chatwork_room) == ("info@acme.example", "", "")
    assert tenant.setup_token_sha256 == "abc"
    assert "abc" not in repr(tenant).replace("acme", "")


@pytest.mark.parametrize("change", [{"host": "127.0.0.1"}, {"database": ""}, {"role": ""}, {"state": "Asleep"}])
def test_parse_tenant_refuses(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_tenant(ROW | change)


def test_directory_tells_what_changed() -> None:
    directory = TenantDirectory()
    told: list[tuple[str | None, str | None]] = []
    directory.on_change(lambda old, new: told.append((old.name if old else None, new.name if new else None)))
    first = parse_tenant(ROW)
    second = parse_tenant(ROW | {"name": "b", "host": "b.example"})
    assert not directory.loaded
    directory.replace_all([first])
    directory.replace_all([first])
    directory.replace_one("b", second)
    directory.replace_all([second])
    directory.replace_one("b", None)
    assert told == [(None, "acme"), (None, "b"), ("acme", None), ("b", None)]
    assert directory.loaded
    assert directory.by_host_header("b.example") is None


def test_a_renamed_host_is_forgotten() -> None:
    directory = TenantDirectory()
    directory.replace_all([parse_tenant(ROW)])
    moved: Tenant = parse_tenant(ROW | {"host": "new.example"})
    directory.replace_one("acme", moved)
    assert directory.by_host_header("acme.example") is None
    assert directory.by_host_header("new.example:1") == moved
    assert moved.state is TenantState.ACTIVE
