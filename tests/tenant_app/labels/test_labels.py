"""Information labels: what an account may not see does not exist for it, by whatever way it asks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from elink_app.accounts.permissions import ALL, Principal
from elink_app.addresses.repository import Order
from elink_app.addresses.schemas import AddressInput, AddressUpdate
from elink_app.addresses.service import AddressBook, Query
from elink_app.addresses.visibility import Action
from elink_app.audit.service import Actor
from elink_app.clock import utc_now
from elink_app.consent.schemas import ConsentInput, EmailOutput, SuppressionInput
from elink_app.consent.service import ConsentBook, is_suppressed, lift_own_will
from elink_app.errors import AppError, Forbidden, InvalidInput, NotFound
from elink_app.labels.schemas import LabelInput, TagInput
from elink_app.labels.service import Labels, TagInUse
from elink_app.segments.compile import segment_select
from elink_app.segments.schemas import TREE, SegmentInput
from elink_app.segments.service import Segments
from elink_app.utilities.schemas import RetagProgram
from elink_app.utilities.service import Utilities
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.tenant_app.people.support import member
from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

SALES, LAWYERS = 11, 22
_VARYING = re.compile(r'csrf_token" value="[^"]+"|[0-9]+')
EVERYBODY = {"kind": "all", "of": []}


def principal(*roles: int, master: bool = False) -> Principal:
    return Principal(99, "somebody@example.jp", "", master, ALL, None, frozenset(roles))


@dataclass
class Office:
    """The services of one tenant, for any account."""

    world: World
    name: str
    me: Browser

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        tenant = self.world.parts.directory.get(self.name)
        assert tenant is not None
        async with self.world.parts.databases.transaction(tenant) as db:
            yield db

    def book(self, db: AsyncSession, who: Principal) -> AddressBook:
        tenant = self.world.parts.directory.get(self.name)
        assert tenant is not None
        return AddressBook(db, tenant, utc_now, timedelta(days=7), who, Actor(None, "test", ""))

    async def add(self, **values: object) -> int:
        answer = await self.me.api("POST", "/api/v1/addresses", json={"name": "名前", **values})
        assert answer.status_code == 201, answer.text
        number: int = answer.json()["id"]
        return number


async def office(world: World) -> Office:
    tenant = await world.tenant()
    async with world.server.inside(tenant.database) as inside:
        await inside.executemany(
            "INSERT INTO role (id, name, permissions) VALUES ($1, 'role ' || $1::bigint, '{}')",
            [(number,) for number in (1, 2, 3, SALES, LAWYERS)],
        )
    return Office(world, tenant.name, await world.master(tenant))


async def label(place: Office, name: str = "訴訟", **rights: list[int]) -> int:
    """Make the tag a label."""
    tags = {tag["name"]: tag["id"] for tag in (await place.me.get("/api/v1/tags")).json()}
    answer = await place.me.api("PUT", f"/api/v1/tags/{tags[name]}/label", json={"is_label": True, **rights})
    assert answer.status_code == 200, answer.text
    number: int = tags[name]
    return number


async def test_nothing_of_a_hidden_address_shows(world: World) -> None:
    place = await office(world)
    secret = await place.add(name="秘密 一郎", emails=["secret@example.jp"], tags=["訴訟", "共通"], notes="極秘事項")
    await place.add(name="公開 花子", tags=["共通"])
    await place.me.api("POST", "/api/v1/suppressions", json={"email": "secret@example.jp"})
    tag = await label(place, see=[LAWYERS])
    for who, sees in ((principal(SALES), False), (principal(), False), (principal(SALES, LAWYERS), True)):
        async with place.transaction() as db:
            book = place.book(db, who)
            for order in Order:
                for query in (Query(order=order), Query(tag="共通", order=order)):
                    page = await book.page(query)
                    assert ("秘密 一郎" in [row.name for row in page.items]) is sees
                    assert page.total == (2 if sees else 1)
            for text in ("秘密", "極秘", "secret@", "訴訟", "秘密 訴訟"):
                page = await book.page(Query(text))
                assert (page.total, len(page.items)) == ((1, 1) if sees else (0, 0)), text
            assert (await book.page(Query(tag="訴訟"))).total == (1 if sees else 0)
            assert await book.used() == (2 if sees else 1)
            assert ("訴訟" in await book.tags()) is sees
            assert len(await book.recent(10)) == (2 if sees else 1)
            segments = Segments(db, who, Actor(None, "test", ""), utc_now)
            everybody = await segments.preview(TREE.validate_python(EVERYBODY))
            assert (everybody.count, len(everybody.items)) == ((2, 2) if sees else (1, 1))
            by_label = TREE.validate_python({"kind": "all", "of": [{"kind": "tag", "tag_id": tag}]})
            assert await segments.count(by_label) == (1 if sees else 0)
            listed = await ConsentBook(db, who, Actor(None, "test", ""), utc_now).suppressions()
            assert len(listed.items) == (1 if sees else 0)
            labels = await Labels(db, who, Actor(None, "test", ""), utc_now).all()
            assert ("訴訟" in [one.name for one in labels]) is sees
            assert all(one.rights is None for one in labels)
        for attempt in (
            lambda book: book.get(secret),
            lambda book: book.update(secret, AddressUpdate(name="x")),
            lambda book: book.delete(secret),
        ):
            async with place.transaction() as db:
                if not sees:
                    with pytest.raises(NotFound):
                        await attempt(place.book(db, who))
    async with place.transaction() as db:
        found = await ConsentBook(db, principal(), Actor(None, "t", ""), utc_now).email("Secret@example.jp")
        assert (found.consent, found.suppressed, found.ledger, found.suppressions) == (None, False, [], [])


async def test_an_e_mail_of_hidden_addresses_is_answered_like_one_that_nobody_bears(world: World) -> None:
    place = await office(world)
    await place.add(emails=["secret@example.jp"], tags=["訴訟"])
    await place.add(emails=["blocked@example.jp"], tags=["訴訟"])
    await place.me.api("POST", "/api/v1/suppressions", json={"email": "blocked@example.jp", "detail": "裁判"})
    await place.me.api("POST", "/api/v1/consents/secret@example.jp", json={"kind": "given", "how": "名刺"})
    await label(place)
    answers = []
    for number, email in enumerate(("nobody@example.jp", "secret@example.jp", "blocked@example.jp")):
        async with place.transaction() as db:
            book = ConsentBook(db, principal(), Actor(None, "clerk", ""), utc_now)
            before = await book.email(email)
            blocked = await book.block(SuppressionInput(email=email, detail="電話"))
            listed = (await book.suppressions()).items
            recorded = await book.record(email, ConsentInput(kind="withdrawn"))
        answers.append(
            [before.model_dump(exclude={"email"}), shape(blocked), recorded.consent, len(recorded.ledger)]
        )  # fmt: skip
        assert listed[0].email == email
        assert len(listed) == number + 1
    assert answers[0] == answers[1] == answers[2]
    async with place.transaction() as db:
        masters = ConsentBook(db, principal(master=True), Actor(None, "m", ""), utc_now)
        held = await masters.email("blocked@example.jp")
        assert [(row.detail, row.lifted_at) for row in held.suppressions] == [("電話", None), ("裁判", None)]
        mine = ConsentBook(db, principal(), Actor(None, "clerk", ""), utc_now)
        entries = {row.email: row.id for row in (await mine.suppressions()).items}
        with pytest.raises(NotFound):
            await mine.lift(held.suppressions[1].id, "誤り")
        lifted = []
        for email in ("nobody@example.jp", "secret@example.jp", "blocked@example.jp"):
            assert (await mine.lift(entries[email], "誤り")).lifted_by == "clerk"
            with pytest.raises(NotFound):
                await mine.lift(entries[email], "誤り")
            found = await mine.email(email)
            lifted.append([found.suppressed, *(row.lifted_by for row in found.suppressions)])
        assert lifted == [[False, "clerk"]] * 3
        # What the other one blocked holds on, and is his to lift.
        assert not await is_suppressed(db, "secret@example.jp")
        assert await is_suppressed(db, "blocked@example.jp")
        held = await masters.email("blocked@example.jp")
        assert [row.lifted_at is None for row in held.suppressions] == [False, True]
        await masters.lift(held.suppressions[1].id, "終結")
        assert not await is_suppressed(db, "blocked@example.jp")


async def test_each_of_many_has_an_entry_of_his_own(world: World) -> None:
    place = await office(world)
    await place.add(emails=["secret@example.jp"], tags=["訴訟"])
    await label(place)
    email = "secret@example.jp"

    async def entries(who: str) -> list[tuple[str, bool]]:
        async with place.transaction() as db:
            found = (await clerk(db, who).email(email)).suppressions
        return [(row.source, row.lifted_at is None) for row in found]

    def clerk(db: AsyncSession, who: str) -> ConsentBook:
        return ConsentBook(db, principal(master=who == "m"), Actor(None, who, ""), utc_now)

    for who in ("m", "a", "b", "a", "b", "m"):
        async with place.transaction() as db:
            await clerk(db, who).block(SuppressionInput(email=email))
    assert await entries("a") == [("a", True)]
    assert await entries("b") == [("b", True)]
    assert await entries("m") == [("b", True), ("a", True), ("m", True)]
    for who, still in (("a", True), ("b", False)):
        async with place.transaction() as db:
            book = clerk(db, who)
            (entry,) = (await book.suppressions()).items
            await book.lift(entry.id, "誤り")
            assert (await book.suppressions()).items == []
            assert await is_suppressed(db, email)
        assert await entries("m") == [("b", still), ("a", False), ("m", True)]
    # The person's own word ends all of them.
    for who in ("m", "a"):
        async with place.transaction() as db:
            await clerk(db, who).block(SuppressionInput(email=email, reason="unsubscribed"))
    async with place.transaction() as db:
        assert await lift_own_will(db, email, "recipient", "delivery 1, mail 1", utc_now()) == 2
        rows = (await clerk(db, "m").email(email)).suppressions
        assert [row.reason for row in rows if row.lifted_at is None] == ["blocked"]


async def test_pages_tell_nothing_of_a_hidden_e_mail_that_is_blocked(world: World) -> None:
    tenant = await world.tenant()
    place = Office(world, tenant.name, await world.master(tenant))
    await place.add(emails=["blocked@example.jp"], tags=["訴訟"])
    await place.me.api("POST", "/api/v1/suppressions", json={"email": "blocked@example.jp", "detail": "裁判"})
    await label(place)
    me, _, _ = await member(world, tenant, place.me, "addresses:view", "addresses:edit")
    pages = []
    for name in ("nobody", "blocked"):
        email = f"{name}@example.jp"
        answer = await me.post("/suppressions", {"email": email, "detail": "電話"})
        assert answer.status_code == 303
        shown = (await me.get(answer.headers["location"])).text
        assert "電話" in shown
        assert "裁判" not in shown
        assert email in (await me.get("/suppressions")).text
        (entry,) = re.findall(r"/suppressions/(\d+)/lift", shown)
        lifted = await me.post(f"/suppressions/{entry}/lift", {"email": email, "why": "誤り"})
        assert lifted.status_code == 303
        after = (await me.get(lifted.headers["location"])).text
        pages.append(
            [
                re.sub(r'(csrf_token|form_key)" value="[^"]+"|[0-9]+', "", page).replace(name, "")
                for page in (shown, after)
            ]
        )
    assert pages[0] == pages[1]


def shape(found: EmailOutput) -> object:
    """An answer without what tells time and place."""
    varying = {"id", "email", "since"}
    return found.suppressed, found.ledger, [row.model_dump(exclude=varying) for row in found.suppressions]


async def test_deleted_ones_stay_hidden(world: World) -> None:
    place = await office(world)
    secret = await place.add(name="秘密", tags=["訴訟"])
    await label(place, see=[LAWYERS])
    async with place.transaction() as db:
        await place.book(db, principal(LAWYERS)).delete(secret)
    async with place.transaction() as db:
        stranger, lawyer = place.book(db, principal(SALES)), place.book(db, principal(LAWYERS))
        assert await stranger.recently_deleted() == []
        assert await stranger.recently_deleted_one(secret) is None
        assert await stranger.count_recently_deleted() == 0
        assert await lawyer.count_recently_deleted() == 1
        with pytest.raises(NotFound):
            await stranger.restore(secret)
    async with place.transaction() as db:
        assert (await place.book(db, principal(LAWYERS)).restore(secret)).tags == ["訴訟"]


async def test_actions_are_granted_one_by_one_and_need_sight(world: World) -> None:
    place = await office(world)
    number = await place.add(tags=["訴訟"])
    await label(place, see=[1, 2], export=[1, 3], send=[2])
    tree = TREE.validate_python(EVERYBODY)
    expected = {
        (1, Action.SEE): True, (1, Action.EXPORT): True, (1, Action.SEND): False,
        (2, Action.SEE): True, (2, Action.EXPORT): False, (2, Action.SEND): True,
        (3, Action.SEE): False, (3, Action.EXPORT): False, (3, Action.SEND): False,
    }  # fmt: skip
    async with place.transaction() as db:
        for (role, action), may in expected.items():
            found = (await db.scalars(segment_select(tree, principal(role), action))).all()
            assert found == ([number] if may else []), (role, action)
        assert (await db.scalars(segment_select(tree, principal(master=True), Action.SEND))).all() == [number]


async def test_nobody_gives_himself_a_right_by_taking_a_label_off(world: World) -> None:
    place = await office(world)
    number = await place.add(tags=["訴訟", "他"])
    await label(place, see=[1, 2], export=[1, 2], send=[2])
    without, kept = (AddressUpdate(name="名前", tags=tags) for tags in (["他"], ["訴　訟"]))
    retag = RetagProgram(program="retag", remove=["訴訟"])
    async with place.transaction() as db:
        weak = place.book(db, principal(1))
        with pytest.raises(InvalidInput) as caught:
            await weak.update(number, without)
        assert [(one.field, one.code) for one in caught.value.errors] == [(("tags",), "tag_bound")]
        assert caught.value.errors[0].message.params == {"tags": "訴訟"}
        assert (await weak.update(number, kept)).tags == ["訴訟"], "other tags are his to take off"
        programs = Utilities(db, principal(1), Actor(None, "t", ""), utc_now, timedelta(days=7))
        with pytest.raises(InvalidInput) as caught:
            await programs.draft(retag)
        assert [(one.field, one.code) for one in caught.value.errors] == [(("remove",), "tag_bound")]
        assert (await place.book(db, principal(2)).update(number, without)).tags == ["他"]


async def test_two_labels_need_both(world: World) -> None:
    place = await office(world)
    await place.add(name="両方", tags=["訴訟", "人事"])
    await label(place, "訴訟", see=[1])
    await label(place, "人事", see=[2])
    async with place.transaction() as db:
        for roles, total in (((1,), 0), ((2,), 0), ((1, 2), 1)):
            assert (await place.book(db, principal(*roles)).page(Query())).total == total


async def test_a_label_cannot_be_touched_from_outside(world: World) -> None:
    place = await office(world)
    await place.add(name="秘密", tags=["訴訟"])
    number = await label(place, see=[LAWYERS])
    stranger, lawyer = principal(SALES), principal(LAWYERS)

    async def refused(who: Principal, error: type[AppError], act: str, *given: object) -> None:
        async with place.transaction() as db:
            with pytest.raises(error):
                await getattr(Labels(db, who, Actor(None, "t", ""), utc_now), act)(*given)

    await refused(stranger, NotFound, "get", number)
    await refused(stranger, NotFound, "rename", number, TagInput(name="x"))
    await refused(stranger, NotFound, "delete", number)
    await refused(stranger, Forbidden, "set_label", number, LabelInput(is_label=False))
    await refused(lawyer, Forbidden, "set_label", number, LabelInput(is_label=True, see=[SALES]))
    await refused(lawyer, Forbidden, "delete", number)
    await refused(lawyer, Forbidden, "rename", number, TagInput(name="x"))
    for name in ("訴訟", " 訴訟 ", "訴　訟"):
        async with place.transaction() as db:
            with pytest.raises(InvalidInput) as caught:
                await place.book(db, stranger).create(AddressInput(name="x", tags=["他", name]))
            assert [(one.field, one.code) for one in caught.value.errors] == [(("tags", 1), "tag_reserved")]
    async with place.transaction() as db:
        segments = Segments(db, stranger, Actor(None, "t", ""), utc_now)
        tree = {"kind": "none", "of": [{"kind": "tag", "tag_id": number}]}
        with pytest.raises(InvalidInput):
            await segments.preview(TREE.validate_python(tree))
        made = await Segments(db, lawyer, Actor(None, "t", ""), utc_now).create(
            SegmentInput.model_validate({"name": "訴訟関係", "tree": tree})
        )
        assert await segments.all() == []
        with pytest.raises(NotFound):
            await segments.get(made.id)
        with pytest.raises(NotFound):
            await segments.delete(made.id)


async def test_tags_are_renamed_and_removed_everywhere(world: World) -> None:
    place = await office(world)
    number = await place.add(name="甲", tags=["古い", "他"])
    tags = {tag["name"]: tag["id"] for tag in (await place.me.get("/api/v1/tags")).json()}
    old = f"/api/v1/tags/{tags['古い']}"
    assert (await place.me.api("PUT", old, json={"name": "他"})).status_code == 422
    assert (await place.me.api("PUT", old, json={"name": "新しい"})).json()["name"] == "新しい"
    found = (await place.me.get("/api/v1/addresses?tag=新しい")).json()
    assert [sorted(row["tags"]) for row in found["items"]] == [sorted(["他", "新しい"])]
    assert (await place.me.get("/api/v1/addresses?q=新し")).json()["total"] == 1
    assert (await place.me.api("DELETE", old)).status_code == 204
    assert (await place.me.api("DELETE", old)).status_code == 404
    assert (await place.me.get(f"/api/v1/addresses/{number}")).json()["tags"] == ["他"]
    assert (await place.me.get("/api/v1/addresses?q=新し")).json()["total"] == 0
    async with place.transaction() as db:
        actions = [row[0] for row in await db.execute(text("SELECT action FROM audit_entry"))]
    assert {"tag.rename", "tag.delete", "address.create"} <= set(actions)


async def test_a_tag_that_a_segment_leaves_out_is_not_taken_away_under_it(world: World) -> None:
    """Without it, the next delivery would go to those who were to get none."""
    place = await office(world)
    await place.add(name="断り", tags=["送らない"])
    (tag,) = [one["id"] for one in (await place.me.get("/api/v1/tags")).json() if one["name"] == "送らない"]
    none = {"kind": "none", "of": [{"kind": "tag", "tag_id": tag}]}
    everybody = {"kind": "all", "of": []}
    made = await place.me.api("POST", "/api/v1/segments", json={"name": "送れる人", "tree": none})
    await place.me.api("POST", "/api/v1/segments", json={"name": "全員", "tree": everybody})
    refused = await place.me.api("DELETE", f"/api/v1/tags/{tag}")
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "tag-in-use")
    assert "送れる人" in refused.json()["detail"]
    assert "全員" not in refused.json()["detail"]
    assert (await place.me.post(f"/tags/{tag}/delete")).status_code == 409
    where = f"/api/v1/segments/{made.json()['id']}"
    assert (await place.me.get(f"{where}/addresses")).json()["total"] == 0
    assert (await place.me.api("PUT", where, json={"name": "送れる人", "tree": everybody})).status_code == 200
    assert (await place.me.api("DELETE", f"/api/v1/tags/{tag}")).status_code == 204


async def test_the_name_of_a_segment_about_a_hidden_label_shows_in_no_refusal(world: World) -> None:
    place = await office(world)
    await place.add(name="秘密", tags=["訴訟", "普通"])
    secret = await label(place, see=[LAWYERS])
    (plain,) = [one["id"] for one in (await place.me.get("/api/v1/tags")).json() if one["name"] == "普通"]
    conditions = [{"kind": "tag", "tag_id": secret}, {"kind": "any", "of": [{"kind": "tag", "tag_id": plain}]}]
    tree = {"kind": "all", "of": conditions}
    await place.me.api("POST", "/api/v1/segments", json={"name": "訴訟関係", "tree": tree})
    for who, shown in ((principal(LAWYERS), "訴訟関係"), (principal(SALES), "…")):
        async with place.transaction() as db:
            with pytest.raises(TagInUse) as caught:
                await Labels(db, who, Actor(None, "t", ""), utc_now).delete(plain)
            assert caught.value.detail.params == {"names": shown}


async def test_the_copy_of_tags_is_always_right(world: World) -> None:
    place = await office(world)
    await place.add(name="甲", tags=["一", "二"])
    await place.add(name="乙", tags=["二"])
    tenant = world.parts.directory.get(place.name)
    assert tenant is not None
    async with world.server.inside(tenant.database) as inside:
        for statement in (
            "SELECT 1",
            "INSERT INTO tag (name, key) SELECT 't' || n, 't' || n FROM generate_series(1, 9) AS n",
            "INSERT INTO address_tag SELECT address.id, tag.id FROM address, tag ON CONFLICT DO NOTHING",
            "DELETE FROM address_tag USING tag WHERE tag.id = tag_id AND name IN ('t1', 't2')",
            "DELETE FROM tag WHERE name LIKE 't%' AND id % 2 = 0",
            "DELETE FROM address_tag",
        ):
            await inside.execute(statement)
            wrong = await inside.fetch(
                "SELECT id FROM address WHERE tag_ids IS DISTINCT FROM "
                "coalesce((SELECT array_agg(tag_id ORDER BY tag_id) "
                "FROM address_tag WHERE address_id = address.id), '{}')"
            )
            assert wrong == [], statement
