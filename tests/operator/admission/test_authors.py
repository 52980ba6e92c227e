"""Who changed it, as the real API server and the real webhook know it; and who may write records of it."""

from __future__ import annotations

import json

import pytest
from elink_operator.desired.change import UNKNOWN, About, annotation_author, build_change, spec_author
from elink_operator.engine import utc_now

from tests.operator.admission.conftest import Webhook
from tests.operator.admission.objects import create, server_body, set_status, tenant_body
from tests.operator.admission.test_policies import OPERATOR, allow
from tests.support.apiserver import ApiServer
from tests.support.kubectl import eventually

pytestmark = pytest.mark.apiserver


def test_users_are_noted_by_every_way_of_writing(refusing: ApiServer, webhook: Webhook) -> None:
    admin = refusing.kubectl
    for user in ("alice", "bob"):
        allow(refusing, user)
    body = json.dumps(tenant_body("who-1"))

    def live() -> dict[str, object]:
        return admin.json("get", "et", "who-1")

    eventually(lambda: admin.run("create", "-f", "-", "--as=alice", stdin=body), timeout=60)
    assert spec_author(live()) == "alice"
    admin.run("patch", "et", "who-1", "--type=merge", "-p", '{"spec":{"language":"en"}}', "--as=bob")
    assert spec_author(live()) == "bob"
    # Neither a status nor a forged note makes another author; a server-side apply twice keeps the note.
    set_status(refusing, "et", "who-1", {"phase": "Active"})
    admin.run("annotate", "et", "who-1", "elink-lc.com/changed-by=2 mallory", "--overwrite")
    assert spec_author(live()) == "bob"
    changed = json.dumps(tenant_body("who-1", language="ja"))
    for _ in range(2):
        admin.run("apply", "--server-side", "--force-conflicts", "-f", "-", "--as=alice", stdin=changed)
        assert spec_author(live()) == "alice"
    admin.run("annotate", "et", "who-1", "elink-lc.com/confirm-erasure=who-1", "--as=bob")
    assert (spec_author(live()), annotation_author(live())) == ("alice", "bob")


def test_nobody_is_noted_while_the_webhook_is_away_and_for_scale(refusing: ApiServer, webhook: Webhook) -> None:
    assert create(refusing, server_body("who-2"))[0] == 201
    refusing.kubectl.run("scale", "es/who-2", "--replicas=4")
    assert spec_author(refusing.kubectl.json("get", "es", "who-2")) == UNKNOWN
    webhook.stop()
    try:
        assert create(refusing, tenant_body("who-3"))[0] == 201
        assert spec_author(refusing.kubectl.json("get", "et", "who-3")) == UNKNOWN
    finally:
        webhook.start()


def test_only_the_operator_writes_and_removes_a_record_and_nobody_changes_it(refusing: ApiServer) -> None:
    admin = refusing.kubectl
    allow(refusing, OPERATOR)
    record = build_change(
        About("ElinkTenant", "gone", "1"), key="000001", what="Created", who="a", now=utc_now(), generation=1
    )
    name = record["metadata"]["name"]
    code, answer = create(refusing, record)
    assert (code, "written and removed by the elink operator only" in answer) == (403, True)
    text = json.dumps(record)
    eventually(lambda: admin.run("create", "-f", "-", f"--as={OPERATOR}", stdin=text), timeout=60)
    assert admin.json("get", "ec", name)["spec"] == record["spec"], "nothing is filled in"
    for who in ((), (f"--as={OPERATOR}",)):
        said = admin.refused("patch", "ec", name, "--type=merge", "-p", '{"spec":{"who":"nobody"}}', *who)
        assert "cannot be changed" in said
    assert "by the elink operator only" in admin.refused("delete", "ec", name)
    shown = admin.run("get", "ec", "-l", "elink-lc.com/tenant=gone").splitlines()[0].split()
    assert shown == ["NAME", "WHEN", "WHO", "WHAT", "OF", "SUMMARY"]
    admin.run("delete", "ec", name, f"--as={OPERATOR}")
    assert admin.items("ec", name) == []
