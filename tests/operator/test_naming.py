"""Names, labels and defaults are API: a change here is a migration for every cluster."""

import pytest
from elink_operator import labels, naming
from elink_operator.settings import Settings
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

LONGEST = "a" * 62 + "z"


def test_names_are_pinned() -> None:
    assert naming.API_VERSION == "elink-lc.com/v1"
    assert naming.FINALIZER == "elink-lc.com/erasure"
    assert naming.FIELD_MANAGER == "elink-operator"
    assert naming.LEASE == "elink-operator"
    assert naming.server_namespace("shared-1") == "elink-srv-shared-1"
    assert naming.tenant_database("acme-trading") == "t_acme_trading"
    assert naming.tenant_role("acme-trading") == "t_acme_trading"
    assert naming.scratch_database("acme-trading", "0a1b2c3d") == "r_0a1b2c3d_acme_trading"
    assert naming.kept_database("acme-trading", "0a1b2c3d") == "k_0a1b2c3d_acme_trading"
    assert naming.tenant_secret("acme") == "tenant-acme"
    assert naming.tenant_route("acme") == "tenant-acme"
    assert naming.backup_cronjob("acme") == "backup-acme"
    assert naming.erase_job("acme") == "erase-acme"
    assert naming.forget_job(["uid-2", "uid-1"]) == "forget-" + naming.digest("uid-1 uid-2")
    assert naming.server_key_secret("tokyo-1") == "elink-server.tokyo-1-backup-key"
    assert naming.server_bucket("elink-", "tokyo-1") == "elink-0tokyo-1"
    assert naming.master_secret("acme") == "elink-acme-master"
    assert naming.tenant_directory("acme") == "/var/lib/elink/tenants/acme"
    assert naming.tenant_backup_folder("acme") == "acme"
    assert naming.backup_store_secret("acme") == "backup-store-acme"
    assert naming.backup_bucket("elink-", "acme") == "elink-acme"
    assert naming.migrate_job("0.1.0", "1") == "migrate-" + naming.digest("0.1.01")


def test_labels_are_pinned() -> None:
    assert labels.tenant_labels("s1", "acme", labels.BACKUP) == {
        "app.kubernetes.io/managed-by": "elink-operator",
        "elink-lc.com/server": "s1",
        "elink-lc.com/tenant": "acme",
        "elink-lc.com/component": "backup",
    }
    assert labels.MANAGED_SELECTOR == "app.kubernetes.io/managed-by=elink-operator"
    assert labels.APPLIED_HASH == "elink-lc.com/applied-hash"
    assert labels.FORGETS == "elink-lc.com/forgets"
    assert labels.CONFIRM_ERASURE == "elink-lc.com/confirm-erasure"
    assert labels.ROLE == "elink-lc.com/role"


def test_long_names_become_ids_that_fit_everywhere() -> None:
    assert naming.short_id("a" * 40) == "a" * 40
    assert naming.short_id("a" * 41) == "a" * 31 + "-" + naming.digest("a" * 41)
    assert len(naming.short_id(LONGEST)) == 40
    assert len(naming.server_namespace(LONGEST)) <= 63
    assert len(naming.backup_cronjob(LONGEST)) <= 52
    assert len(naming.backup_bucket("p" * 23, LONGEST)) <= 63
    assert len(naming.tenant_database(LONGEST)) <= 63
    assert len(naming.scratch_database(LONGEST, "0a1b2c3d")) <= 63
    assert len(naming.kept_database(LONGEST, "0a1b2c3d")) <= 63


@given(st.from_regex(r"[a-z][-a-z0-9]{0,61}[a-z0-9]", fullmatch=True))
def test_every_id_is_itself_a_valid_name(name: str) -> None:
    assert naming.is_valid_name(name)
    assert naming.is_valid_name(naming.short_id(name))
    assert naming.short_id(naming.short_id(name)) == naming.short_id(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "A", "a_b", "a.b", "a" * 64, "a\n"])
def test_bad_names(name: str) -> None:
    assert not naming.is_valid_name(name)


def test_hosts_and_urls() -> None:
    assert naming.tenant_host("acme", None, "elink.example") == "acme.elink.example"
    assert naming.tenant_host("acme", "shop", "elink.example") == "shop.elink.example"
    assert naming.tenant_host("acme", "mail.acme.jp", "elink.example") == "mail.acme.jp"
    assert naming.tenant_url("acme.jp", 443) == "https://acme.jp"
    assert naming.tenant_url("acme.jp", 8443) == "https://acme.jp:8443"


def test_settings_come_from_the_environment_and_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELINK_REGIONS", "jp, us-west")
    monkeypatch.setenv("ELINK_EXTERNAL_PORT", "8443")
    settings = Settings()
    assert settings.regions == {"jp", "us-west"}
    assert settings.external_port == 8443
    assert settings.app_image_at("0.9") == "docker.io/elink/tenant-app:0.9"
    with pytest.raises(ValidationError):
        settings.external_port = 1  # type: ignore[misc]


def test_every_setting_has_a_reason_and_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def test_the_erasure_promise_cannot_be_configured_away() -> None:
    with pytest.raises(ValidationError):
        Settings(erasure_grace_days=31)
