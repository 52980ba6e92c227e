"""Files that go with a delivery: from the upload to the mail, and files, names and requests that mean harm."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import os
import re
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from elink_app.attachments.cleaner import AttachmentCleaner
from elink_app.clock import utc_now
from elink_app.ops.servers import Stop
from elink_app.outbox.sender import OutboxSender
from elink_app.transfer.store import FileStore
from elink_app.worker import attached
from elink_app.worker.attached import AttachedFiles

from tests.tenant_app.deliveries.support import Office
from tests.tenant_app.deliveries.test_pages import form
from tests.tenant_app.people.support import member
from tests.tenant_app.support import ORIGIN_HEADERS, Browser, World
from tests.tenant_app.worker.deliveries import CountingRelay, relaying
from tests.tenant_app.worker.deliveries import Office as Worker

pytestmark = pytest.mark.postgres

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 20
OTHER = PDF + b"2"
NAME = "お見積書 (4月).pdf"
ODD_NAMES = [
    b"../../x.pdf", b"..\\\\x.pdf", b"/etc/x.pdf",
    b"x\r\nBcc: a@b.example\r\n.pdf", b"x\0.pdf", b"con.pdf", b"x\x1b.pdf",
    *(name.encode() for name in ("x\u202efdp.pdf", "あ" * 81 + ".pdf", "x\u200b.pdf", "x\u2028.pdf")),
    "見積.pdf".encode("cp932"),
]  # fmt: skip


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def upload(browser: Browser, path: str, name: str, content: bytes, *, key: str = "", **changes: Any) -> Any:
    """The page's own form with a file."""
    fields = {"csrf_token": await browser.token("/account"), "form_key": key, **changes}
    return await browser.client.post(
        f"{path}/attachments", data={k: v for k, v in fields.items() if v is not None},
        files={"file": (name, content, "application/x-msdownload")}, headers=ORIGIN_HEADERS,
    )  # fmt: skip


async def attach(office: Office, delivery: int, name: str = NAME, content: bytes = PDF, expect: int = 201) -> Any:
    """The same by the API."""
    files = {"file": (name, content, "text/html")}
    return await office.call("POST", f"/deliveries/{delivery}/attachments", expect, files=files)


def shelf(office: Office) -> list[Path]:
    """The files that the tenant has on disk."""
    folder = office.world.server.settings.tenants_dir / office.tenant.directory / "attachments"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def code(problem: Any) -> str:
    return str(problem["errors"][0]["code"])


async def test_from_the_upload_to_the_approval(office: Office) -> None:
    await office.rules(approval_required=True)
    made = await office.draft()
    path = f"/deliveries/{made['id']}"
    page = (await office.me.get(path)).text
    key = re.search(r'action="[^"]+/attachments".*?name="form_key" value="([\w-]+)"', page, re.S)
    assert key, page
    pressed = [await upload(office.me, path, NAME, PDF, key=key[1]) for _ in range(2)]
    assert [answer.status_code for answer in pressed] == [303, 303], pressed[1].text
    assert {answer.headers["location"] for answer in pressed} == {f"{path}?notice=attached#attachments"}
    [kept] = (await office.call("GET", path))["attachments"]
    assert kept == {
        "name": NAME,
        "media_type": "application/pdf",
        "size": len(PDF),
        "sha256": sha256(PDF),
        "kept": True,
    }
    assert len(shelf(office)) == 1, "the second press leaves nothing"
    page = (await office.me.get(f"{path}?notice=attached")).text
    for shown in (NAME, "6 kB", sha256(PDF), "ファイルを添付しました"):
        assert shown in page
    file = f"{path}/attachments/{sha256(PDF)}"
    for place in (file, f"/api/v1{file}"):
        answer = await office.me.get(place)
        assert (answer.status_code, answer.content) == (200, PDF)
        assert answer.headers["content-disposition"] == f"attachment; filename*=utf-8''{quote(NAME, safe='')}"
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    asked = await office.call("POST", f"{path}/request")
    await office.foreign_author(made["id"])
    approved = await office.call("POST", f"{path}/approve", json={"content_sha256": asked["content_sha256"]})
    assert approved["state"] == "approved"
    # Another file is another content, and whoever attached it is an author.
    await attach(office, made["id"], "b.pdf", OTHER)
    changed = await office.call("GET", path)
    assert (changed["state"], changed["content_sha256"], changed["approved_by"]) == ("draft", "", "")
    again = await office.call("POST", f"{path}/request")
    assert again["content_sha256"] != asked["content_sha256"]
    await office.sql("UPDATE delivery_event SET account_id = account_id + 1000 WHERE action <> 'attached'")
    problem = await office.call("POST", f"{path}/approve", 403, json={"content_sha256": again["content_sha256"]})
    assert problem["type"].endswith("/own-approval")
    # As if somebody had changed the record behind the approver's back.
    await office.foreign_author(made["id"])
    swap = "UPDATE delivery SET attachments = jsonb_set(attachments, '{1,sha256}', to_jsonb($1::text))"
    await office.sql(swap, "0" * 64)
    await office.call("POST", f"{path}/approve", 409, json={"content_sha256": again["content_sha256"]})
    await office.sql(swap, sha256(OTHER))
    question = (await office.me.get(f"{file}/delete")).text
    assert f"添付ファイル「{NAME}」を削除しますか" in question
    assert (await office.me.post(f"{file}/delete")).status_code == 303
    last = await office.call("GET", path)
    assert ([one["name"] for one in last["attachments"]], last["state"]) == (["b.pdf"], "draft")
    assert (await office.me.get(file)).status_code == 404
    history = await office.call("GET", f"{path}/history")
    told = {"file": NAME, "size": len(PDF), "sha256": sha256(PDF)}
    assert [one["action"] for one in history][:2] == ["detached", "requested"]
    assert history[0]["detail"] == told
    assert [one["sha256"] for one in history[1]["detail"]["attachments"]] == [sha256(PDF), sha256(OTHER)]
    audit = await office.sql("SELECT after::text AS after FROM audit_entry WHERE action = 'delivery.attached'")
    assert sha256(PDF) in audit[0]["after"]
    assert "お知らせ" in audit[0]["after"], "the delivery is named, too"
    page = (await office.me.get(path)).text
    assert "添付ファイルを削除" in page
    # Once it is on its way nothing changes any more.
    await office.sql("UPDATE delivery SET state = 'sending'")
    await attach(office, made["id"], "c.pdf", PDF, 409)
    await office.call("DELETE", f"{path}/attachments/{sha256(OTHER)}", 409)
    refused = await upload(office.me, path, "c.pdf", PDF)
    assert refused.status_code == 409
    assert 'role="alert"' in refused.text


async def test_what_is_refused_leaves_nothing(office: Office) -> None:
    made = await office.draft()
    path = f"/deliveries/{made['id']}"
    number = made["id"]
    for name in ODD_NAMES:
        raw = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b\r\n--b--\r\n'
        answer = await office.me.api(
            "POST", f"/api/v1{path}/attachments", content=raw % (name, PDF),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )  # fmt: skip
        # A line break in a header is no form at all.
        assert answer.status_code == 400 or code(answer.json()) == "attachment_name", (name, answer.text)
    for name in ("virus.exe", "x.docm", "x.zip", "x.html", "x.pdf.js", "x"):
        assert code(await attach(office, number, name, PDF, 422)) == "attachment_kind"
    assert code(await attach(office, number, "x.pdf", b"MZ" + bytes(100), 422)) == "attachment_content"
    assert code(await attach(office, number, "x.pdf", b"", 422)) == "attachment_empty"
    unchosen = b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await office.me.api("POST", f"/api/v1{path}/attachments", content=unchosen, headers=kind)
    assert code(answer.json()) == "required"
    assert code(await attach(office, number, "x.pdf", PDF + bytes(2_000_000), 422)) == "attachment_large"
    for answer in (
        await upload(office.me, path, "x.pdf", PDF + bytes(3_000_000)),
        await upload(office.me, path, "<script>alert(1)</script>.exe", PDF),
    ):
        assert answer.status_code == 422
        assert 'id="file-error"' in answer.text
        assert "<script>alert" not in answer.text
    assert "2000 kB まで" in (await upload(office.me, path, "x.pdf", PDF + bytes(3_000_000))).text
    # Requests that prove nothing.
    for token in (None, "", "x", await office.world.browser(office.tenant.host).token()):
        answer = await upload(office.me, path, "x.pdf", PDF, csrf_token=token)
        assert answer.status_code == 403
    token = await office.me.token("/account")
    late = await office.me.client.post(
        f"{path}/attachments", files=[("file", ("x.pdf", PDF)), ("csrf_token", (None, token))], headers=ORIGIN_HEADERS
    )
    assert late.status_code == 403
    for kind, content in (
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n"),
    ):
        answer = await office.me.api(
            "POST", f"/api/v1{path}/attachments", content=content, headers={"Content-Type": kind}
        )
        assert answer.status_code == 400, answer.text
    two = [("file", ("a.pdf", PDF)), ("file", ("b.pdf", PDF))]
    assert (await office.me.api("POST", f"/api/v1{path}/attachments", files=two)).status_code == 400
    assert shelf(office) == []
    assert (await office.call("GET", path))["version"] == 1
    # Not more than three, none twice, not more than they may be together.
    for count in range(3):
        await attach(office, number, f"{count}.txt", b"x" * (count + 1))
        if count == 0:
            assert code(await attach(office, number, "other.txt", b"x", 422)) == "attachment_twice"
            assert code(await attach(office, number, "0.TXT", b"y", 422)) == "attachment_twice"
    assert code(await attach(office, number, "4.txt", b"xxxx", 422)) == "attachment_many"
    await office.call("DELETE", f"{path}/attachments/{sha256(b'x')}", 204)
    assert code(await attach(office, number, "4.txt", b"x" * 1_999_999, 422)) == "attachment_large"
    assert len(shelf(office)) == 3, "what was taken off is removed later, by the worker"


async def test_files_are_found_by_their_own_delivery_only(office: Office, world: World) -> None:
    mine, second = await office.draft(), await office.draft()
    await attach(office, mine["id"])
    file = f"/attachments/{sha256(PDF)}"
    stranger = await world.master(await world.tenant())
    await stranger.api("POST", "/api/v1/deliveries", json={"name": "x", "category": "notice"})
    for browser, number in ((office.me, second["id"]), (office.me, 4000), (stranger, mine["id"])):
        for place in (f"/deliveries/{number}{file}", f"/api/v1/deliveries/{number}{file}"):
            assert (await browser.get(place)).status_code == 404, place
        assert (await browser.get(f"/deliveries/{number}{file}/delete")).status_code == 404
        assert (await browser.post(f"/deliveries/{number}{file}/delete")).status_code == 404
        assert (await browser.api("DELETE", f"/api/v1/deliveries/{number}{file}")).status_code == 404
    for odd in ("..%2f..%2fx", "0" * 63, "0" * 65, sha256(PDF).upper(), "%00", "0" * 64 + "%0a"):
        assert (await office.me.get(f"/api/v1/deliveries/{mine['id']}/attachments/{odd}")).status_code in (404, 422)
    assert (
        await stranger.api("POST", "/api/v1/deliveries/4000/attachments", files={"file": ("x.pdf", PDF)})
    ).status_code == 404
    # Who approves may read, and not write; who has nothing to do with deliveries may neither.
    reader, _, _ = await member(world, office.tenant, office.me, "deliveries:approve")
    other, _, _ = await member(world, office.tenant, office.me, "addresses:view")
    place = f"/deliveries/{mine['id']}{file}"
    assert (await reader.get(place)).content == PDF
    assert f'href="{place}"' in (await reader.get(f"/deliveries/{mine['id']}")).text
    assert (await reader.get(f"{place}/delete")).status_code == 403
    assert (await other.get(place)).status_code == 403
    for one in (reader, other):
        assert (await upload(one, f"/deliveries/{mine['id']}", "y.pdf", OTHER)).status_code == 403
    assert len(shelf(office)) == 1
    # The file exchanged for a link out of the directory, or for another file.
    [kept] = shelf(office)
    kept.unlink()
    elsewhere = office.world.server.settings.files_dir / "elsewhere"
    elsewhere.write_bytes(PDF)
    kept.symlink_to(elsewhere)
    assert (await office.me.get(place)).status_code == 404
    kept.unlink()
    kept.write_bytes(OTHER)
    assert (await office.me.get(place)).status_code == 404


async def released(office: Office) -> int:
    """A delivery with a file that is to be sent now."""
    made = await office.draft()
    await attach(office, made["id"])
    await office.call("POST", f"/deliveries/{made['id']}/request")
    await office.call("POST", f"/deliveries/{made['id']}/release", json={"when": "now"})
    await office.sql("UPDATE delivery SET state = 'sending', hold_until = NULL, started_at = now()")
    return int(made["id"])


def worker(office: Office, relay: CountingRelay) -> Worker:
    options = {"smtp_host": "127.0.0.1", "smtp_port": relay.port, "smtp_connections": 2}
    return Worker(office.world, office.tenant, office.world.server.settings.model_copy(update=options))


def mail_of(body: bytes) -> EmailMessage:
    message = email.message_from_bytes(body.replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def names_and_contents(message: EmailMessage) -> list[tuple[str | None, Any]]:
    return [(part.get_filename(), part.get_content()) for part in message.iter_attachments()]


async def test_everybody_gets_the_file_or_nobody_anything(office: Office) -> None:
    async with relaying(CountingRelay()) as relay:
        number = await released(office)
        [kept] = shelf(office)
        content = kept.read_bytes()
        for harm in (kept.unlink, lambda: kept.write_bytes(content[:-1] + b"x"), lambda: kept.write_bytes(b"")):
            harm()
            await worker(office, relay).send()
            assert relay.accepted.total() == 0
            found = await office.call("GET", f"/deliveries/{number}")
            assert (found["state"], found["state_reason"]) == ("paused", "attachment_missing")
            assert "添付なしで送ることはありません" in (await office.me.get(f"/deliveries/{number}")).text
            kept.write_bytes(content)
            await office.call("POST", f"/deliveries/{number}/resume", json={})
        await worker(office, relay).send()
        assert relay.accepted.total() == 2
        for body in relay.bodies:
            message = mail_of(body)
            assert message.get_content_type() == "multipart/mixed"
            assert names_and_contents(message) == [(NAME, PDF)]
            text = message.get_body(("plain",))
            assert text is not None
            assert "本文" in text.get_content()
        assert (await office.call("GET", f"/deliveries/{number}"))["state"] == "done"
        assert (await office.me.get(f"/deliveries/{number}/attachments/{sha256(PDF)}")).content == PDF


async def test_a_test_mail_is_as_the_real_one(office: Office) -> None:
    made = await office.draft(layout="html", source="<p>本文</p>")
    await attach(office, made["id"])
    async with relaying(CountingRelay()) as relay:
        settings = worker(office, relay).settings
        sender = OutboxSender(settings, office.world.parts.databases, utc_now)
        tenant = office.world.parts.directory.get(office.tenant.name)
        assert tenant is not None
        for _ in range(2):
            await office.call("POST", f"/deliveries/{made['id']}/test", 202, json={"to": ["a@a.example"]})
        await sender.run(tenant, Stop())
        assert relay.accepted.total() == 2
        message = mail_of(relay.bodies[0])
        assert names_and_contents(message) == [(NAME, PDF)]
        html = message.get_body(("html",))
        assert html is not None
        assert "本文" in html.get_content()
        # Both ways to write the name, as in the deliveries themselves.
        assert re.search(rb'name="=\?utf-8\?B\?', relay.bodies[0])
        assert b"filename*" in relay.bodies[0]
        await office.call("POST", f"/deliveries/{made['id']}/test", 202, json={"to": ["a@a.example"]})
        shelf(office)[0].unlink()
        await sender.run(tenant, Stop())
        assert relay.accepted.total() == 2
        rows = await office.sql("SELECT error, attachments, done_at FROM outbox_mail ORDER BY id")
        assert [row["error"] for row in rows] == ["", "", "attachment_missing"]
        assert "添付なしで送ることはありません" in (await office.me.get(f"/deliveries/{made['id']}")).text
        assert all(row["attachments"] == "[]" and row["done_at"] is not None for row in rows)


async def test_the_worker_removes_what_no_mail_has(office: Office) -> None:
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    later = timedelta(0)
    store = FileStore(office.world.server.settings.tenants_dir)
    cleaner = AttachmentCleaner(office.world.parts.databases, store, lambda: utc_now() + later)
    await cleaner.run(tenant, Stop())
    deliveries = [await office.draft() for _ in range(3)]
    for number, one in enumerate(deliveries):
        await attach(office, one["id"], "x.txt", b"x" * (number + 1))
    contents = [path.read_bytes() for path in shelf(office)]
    assert sorted(contents) == [b"x", b"xx", b"xxx"]
    # One is taken off while a test mail with it waits, one is given up.
    await office.call("POST", f"/deliveries/{deliveries[0]['id']}/test", 202, json={"to": ["a@a.example"]})
    await office.call("DELETE", f"/deliveries/{deliveries[0]['id']}/attachments/{sha256(b'x')}", 204)
    given_up = deliveries[1]["id"]
    await office.call("POST", f"/deliveries/{given_up}/cancel", json={})
    await cleaner.run(tenant, Stop())
    assert len(shelf(office)) == 3, "an upload may be under way"
    later = timedelta(minutes=11)
    await cleaner.run(tenant, Stop())
    assert sorted(path.read_bytes() for path in shelf(office)) == [b"x", b"xxx"]
    page = (await office.me.get(f"/deliveries/{given_up}")).text
    assert "送信する前に中止したため" in page
    assert sha256(b"xx") in page
    assert f"/attachments/{sha256(b'xx')}" not in page
    await office.sql("UPDATE outbox_mail SET done_at = now()")
    await cleaner.run(tenant, Stop())
    assert [path.read_bytes() for path in shelf(office)] == [b"xxx"]


async def test_files_count_against_the_plan(world: World) -> None:
    tenant = await world.tenant(limits={"addresses": 10, "storageBytes": len(PDF) + 100})
    me = await world.master(tenant)
    office = Office(world, tenant, me, 0)
    made = (await me.api("POST", "/api/v1/deliveries", json={"name": "x", "category": "notice"})).json()
    path = f"/deliveries/{made['id']}"
    await attach(office, made["id"])
    problem = await attach(office, made["id"], "b.pdf", OTHER, 409)
    assert problem["type"].endswith("/storage-full")
    refused = await upload(me, path, "b.pdf", OTHER)
    assert refused.status_code == 409
    assert "プランの変更を提供元にご相談ください" in refused.text
    assert len(shelf(office)) == 1
    assert os.stat(shelf(office)[0]).st_mode & 0o077 == 0


async def test_a_delivery_without_files_keeps_its_approval_of_before(office: Office) -> None:
    made = await office.me.post("/deliveries", form(office))
    path = made.headers["location"].partition("?")[0]
    before = await office.call("POST", f"{path}/request")
    parts = "subject, text_body, html_body, from_name, from_address, reply_to, category, segment"
    [row] = await office.sql(f"SELECT {parts} FROM delivery")
    values = [*list(row.values())[:-1], orjson.loads(row["segment"])]
    assert before["content_sha256"] == sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS))


async def test_files_of_many_deliveries_are_not_all_held_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "_MOST_BYTES", len(PDF) + 10)
    async with relaying(CountingRelay()) as relay:
        numbers = [await released(office) for _ in range(3)]
        sending = worker(office, relay)
        sender = sending.sender()
        most, reserve = 0, AttachedFiles.reserve

        def counted(files: AttachedFiles, attachments: Any) -> int:
            nonlocal most
            size = reserve(files, attachments)
            most = max(most, files._held)
            return size

        monkeypatch.setattr(AttachedFiles, "reserve", counted)
        try:
            # Those that had to wait ask to be woken.
            for _ in range(20):
                await sender.run(sending.known, Stop())
                if relay.accepted.total() == 6:
                    break
                await asyncio.sleep(0.3)
        finally:
            await sender.close()
        assert relay.accepted.total() == 6
        assert most == len(PDF)
        assert sender.files._held == 0
        states = [(await office.call("GET", f"/deliveries/{number}"))["state"] for number in numbers]
        assert states == ["done"] * 3


async def test_what_was_sent_can_be_deleted_and_stays_on_record(office: Office, world: World) -> None:
    number = await released(office)
    path, file = f"/deliveries/{number}", f"/deliveries/{number}/attachments/{sha256(PDF)}"
    await office.call("DELETE", file, 409)
    await office.sql("UPDATE delivery SET state = 'done', finished_at = now()")
    assert "この配信のメールは、もう再送できなくなります" in (await office.me.get(f"{file}/delete")).text
    reader, _, _ = await member(world, office.tenant, office.me, "deliveries:approve", "deliveries:send")
    assert (await reader.post(f"{file}/delete")).status_code == 403
    answer = await office.me.post(f"{file}/delete")
    assert answer.headers["location"].endswith("notice=discarded#attachments")
    page = (await office.me.get(answer.headers["location"])).text
    assert "名前、大きさ、指紋は記録に残ります" in page
    assert "送信後に削除済み" in page
    assert f'href="{file}"' not in page
    assert "送信済みのファイルを削除" in page, "the history says so"
    found = await office.call("GET", path)
    [kept] = found["attachments"]
    assert (found["state"], kept["name"], kept["sha256"], kept["kept"]) == ("done", NAME, sha256(PDF), False)
    assert await office.call("GET", f"{path}/attachments") == [kept]
    for method, place in (("GET", file), ("GET", f"{file}/delete"), ("POST", f"{file}/delete")):
        answer = await (office.me.get(place) if method == "GET" else office.me.post(place))
        assert answer.status_code == 404, (method, place)
    await office.call("DELETE", file, 404)
    # The content goes with the next round of the worker; what was approved is still what was approved.
    tenant = office.world.parts.directory.get(office.tenant.name)
    assert tenant is not None
    store, later = FileStore(office.world.server.settings.tenants_dir), timedelta(hours=1)
    cleaner = AttachmentCleaner(office.world.parts.databases, store, lambda: utc_now() + later)
    await cleaner.run(tenant, Stop())
    assert shelf(office) == []
    # Nothing is sent without it.
    await office.sql("UPDATE delivery_recipient SET state = 'unknown', next_at = NULL")
    await office.sql("UPDATE delivery SET unknown = total")
    problem = await office.call("POST", f"{path}/resend-unknown", 409, json={"typed_count": found["counts"]["total"]})
    assert problem["type"].endswith("/attachments-deleted")
    assert "添付なしで送ることはありません" in (await office.me.get(path)).text
