"""What an erasure's record says of the erase Job's report."""

from __future__ import annotations

import json

from elink_operator.api import ElinkTenant
from elink_operator.reconcile.evidence import copies_of, erased_files, forgotten, left_behind, left_servers, uncleared


def a_tenant(name: str, born: str, source: str = "") -> ElinkTenant:
    marks = {"elink-lc.com/restored-from": source} if source else {}
    metadata = {"name": name, "uid": name, "creationTimestamp": born, "annotations": marks}
    spec = {"displayName": "x", "plan": "Shared", "masterAccount": {"email": "master@example.jp"}}
    return ElinkTenant.parse({"metadata": metadata, "spec": spec})


def test_copies_of_the_data_are_named_and_an_elder_tenants_are_not() -> None:
    source = a_tenant("aozora", "2026-03-01T00:00:00Z")
    others = [
        a_tenant("aozora-copy", "2026-04-01T00:00:00Z", "aozora"),
        a_tenant("before", "2026-02-01T00:00:00Z", "aozora"),
        a_tenant("midori", "2026-04-01T00:00:00Z"),
        a_tenant("midori-copy", "2026-04-01T00:00:00Z", "midori"),
    ]
    [said] = copies_of(source, [source, *others])
    assert said.what.endswith(": aozora-copy")
    assert copies_of(others[2], [source]) == ()
    many = [a_tenant(f"c{number:02}", "2026-04-01T00:00:00Z", "aozora") for number in range(12)]
    [said] = copies_of(source, many)
    assert said.what.endswith("c09 and 2 more")


def test_servers_that_a_move_left_are_named_while_they_are_there() -> None:
    stayed = a_tenant("aozora", "2026-03-01T00:00:00Z")
    assert left_behind(stayed, {"shared-1"}) == ()
    moved = ElinkTenant.parse(
        {
            "metadata": {"name": "aozora", "uid": "u", "annotations": {"elink-lc.com/left": "shared-1,outside,midori"}},
            "spec": {"displayName": "x", "plan": "Shared", "masterAccount": {"email": "master@example.jp"}},
        }
    )
    assert left_servers(moved) == ["shared-1", "outside", "midori"]
    [said] = left_behind(moved, {"shared-1", "outside", "shared-2"})
    assert "moved away from shared-1, outside: perhaps names" in said.what
    assert left_behind(moved, {"shared-2"}) == (), "a server that is gone holds nothing"


def test_what_remains_fits_the_record() -> None:
    """Text that is too long would keep the record from being written, and the erasure from its end."""
    said = uncleared(set())
    assert len(said) == 4
    assert len(uncleared({("DeadRows", "catalogs"), ("WriteAheadLog", "pg_wal")})) == 2


def test_what_restores_left_is_named_where_there_was_any() -> None:
    removed = {"directory": 3, "restored": 0, "kept": 2, "gone": 0, "backups": 9}
    stores = erased_files("aozora", json.dumps({"removed": removed}), None)
    said = {store.name: store.removed for store in stores if store.store == "Directory"}
    assert said == {
        "/var/lib/elink/tenants/aozora": "3 files removed",
        "/var/lib/elink/tenants/.kept-aozora": "2 files removed",
    }


def test_a_report_that_cannot_be_read_names_the_directory_alone() -> None:
    for report in (None, "", "[]", '{"removed": []}', "{"):
        stores = erased_files("aozora", report, None)
        assert [s.name for s in stores if s.store == "Directory"] == ["/var/lib/elink/tenants/aozora"]


def test_of_a_job_for_several_each_record_has_its_own_lines() -> None:
    report = json.dumps({"rewritten": 7, "lines": {"uid-aozora": 12, "uid-midori": 0}})
    said = [forgotten("shared-1/.server", report, uid).removed for uid in ("uid-aozora", "uid-midori", "uid-other")]
    assert said == [
        "12 rows and journal lines of the tenant removed, 7 generations written again without them",
        "0 rows and journal lines of the tenant removed, 7 generations written again without them",
        "rows and journal lines of the tenant removed, 7 generations written again without them",
    ]
    for broken in (None, "", "[]", '{"lines": 3}', '{"lines": {"uid-aozora": "x"}}'):
        assert "rows and journal lines" in forgotten("shared-1/.server", broken, "uid-aozora").removed
