"""What an erasure's record says of the erase Job's report."""

from __future__ import annotations

import json

from elink_operator.reconcile.evidence import erased_files


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
