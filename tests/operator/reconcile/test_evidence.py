"""What an erasure's record says of the erase Job's report."""

from __future__ import annotations

import json

from elink_operator.reconcile.evidence import erased_files, forgotten


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
