"""Every route, by who has one permission, none, or all but what the route needs: refused, and nothing hidden is told.

The rules below are written from what the permissions are for, not from the code; a route that no rule names fails.
What reads is tried by every single permission. What writes is tried by all permissions together but for those that
would open it, which tells more than each of them alone.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import pytest
from elink_app.accounts.permissions import ALL
from elink_app.accounts.permissions import Permission as P
from elink_operator.database.model import TenantDb

from tests.tenant_app.deliveries.support import RULES, SENDER
from tests.tenant_app.hostile.routes import routes
from tests.tenant_app.hostile.test_every_route import OPEN, body, counted
from tests.tenant_app.people.support import invite, make_role, member
from tests.tenant_app.support import Browser, World

pytestmark = pytest.mark.postgres

Needs = tuple[frozenset[P], ...]


def any_of(*alternatives: P | Iterable[P]) -> Needs:
    return tuple(frozenset({one} if isinstance(one, P) else one) for one in alternatives)


DELIVERIES = (P.DELIVERIES_DRAFT, P.DELIVERIES_APPROVE, P.DELIVERIES_SEND)
NOBODY: Needs = ()
EVERYBODY: Needs = (frozenset(),)
VIEW = any_of(P.ADDRESSES_VIEW)
EDIT = any_of({P.ADDRESSES_VIEW, P.ADDRESSES_EDIT})
EXPORT = any_of({P.ADDRESSES_VIEW, P.ADDRESSES_EXPORT})
UTILITIES = any_of({P.ADDRESSES_VIEW, P.ADDRESSES_EDIT, P.UTILITIES_RUN})

# The first that matches "METHOD path" counts. What only the master may, nobody else opens with any permission.
RULES_OF_ROUTES: tuple[tuple[str, Needs], ...] = (
    (r"POST (/settings/master|/api/v1/master-offer)/accept", EVERYBODY),
    (r"\w+ (/api/v1)?/settings/(security|master)$|\w+ /settings/master/", NOBODY),
    (r"\w+ /user-fields|(POST|DELETE) /api/v1/user-fields", NOBODY),
    (r"\w+ (/api/v1)?/tags/{tag_id}/label", NOBODY),
    # Of an offer nobody but the two knows.
    (r"\w+ /api/v1/master-offer", NOBODY),
    (r"GET /api/v1/notices/{notice_id}/receipts", any_of(P.AUDIT_VIEW)),
    (r"\w+ (/api/v1)?/jobs/{job_id}/(undo|bad-rows)", UTILITIES),
    (r"\w+ (/$|/account|/api/v1/(session|account|tokens|dashboard|support)|(/api/v1)?/(notices|jobs)|/contact|/manual)",
     EVERYBODY),
    (r"\w+ (/api/v1)?/(imports|utilities)", UTILITIES),
    (r"\w+ (/api/v1)?/exports", EXPORT),
    (r"POST /api/v1/segments/preview", VIEW),
    (r"GET /(addresses/(new|deleted)|addresses/{address_id}/edit|segments/new|segments/{segment_id}/edit)", EDIT),
    (r"GET /duplicates/merge|GET /(tags/{tag_id}|segments/{segment_id})/delete", EDIT),
    (r"GET (/api/v1)?/(addresses|consents|suppressions|duplicates|segments|tags)|GET /api/v1/attributes", VIEW),
    (r"\w+ (/api/v1)?/(addresses|consents|suppressions|duplicates|segments|tags)", EDIT),
    (r"\w+ (/api/v1)?/(users|roles)|GET /api/v1/user-fields", any_of(P.USERS_MANAGE)),
    (r"\w+ (/api/v1)?/settings/|\w+ /api/v1/attributes", any_of(P.SETTINGS_MANAGE)),
    (r"\w+ (/api/v1)?/audit", any_of(P.AUDIT_VIEW)),
    (r"\w+ (/api/v1)?/(templates|images)", any_of(P.TEMPLATES_EDIT)),
    (r"GET /deliveries/{delivery_id}/recipients.csv",
     any_of(*({one, P.ADDRESSES_VIEW, P.ADDRESSES_EXPORT} for one in DELIVERIES))),
    (r"GET (/api/v1)?/deliveries/{delivery_id}/(recipients|audience)",
     any_of(*({one, P.ADDRESSES_VIEW} for one in DELIVERIES))),
    (r"GET /deliveries/(new|{delivery_id}/(edit|attachments/{sha256}/delete))", any_of(P.DELIVERIES_DRAFT)),
    (r"GET /api/v1/deliveries/{delivery_id}/test", any_of(P.DELIVERIES_DRAFT)),
    (r"GET (/api/v1)?/deliveries", any_of(*DELIVERIES)),
    (r"POST (/api/v1)?/deliveries/{delivery_id}/(approve|reject)", any_of(P.DELIVERIES_APPROVE)),
    (r"POST (/api/v1)?/deliveries/{delivery_id}/(release|take-back|pause|resume|cancel|resend-unknown)",
     any_of(P.DELIVERIES_SEND)),
    (r"\w+ (/api/v1)?/deliveries", any_of(P.DELIVERIES_DRAFT)),
)  # fmt: skip

# A text that stands in each kind of record, and whom it is for. The audit log tells of all, to who may read it.
MARKS: Mapping[str, Needs] = {
    "印アドレス": VIEW,
    "address7f3a": VIEW,
    "印抑止": VIEW,
    "印同意": VIEW,
    # A delivery is written for a segment, by what tags and fields say.
    "印区分": any_of(P.ADDRESSES_VIEW, P.DELIVERIES_DRAFT),
    "印タグ": VIEW,
    "印項目": any_of(P.ADDRESSES_VIEW, P.SETTINGS_MANAGE, P.TEMPLATES_EDIT, P.DELIVERIES_DRAFT),
    "印配信": any_of(*DELIVERIES),
    "印雛形": any_of(P.TEMPLATES_EDIT, P.DELIVERIES_DRAFT),
    "印利用者": any_of(P.USERS_MANAGE),
    "user7f3a": any_of(P.USERS_MANAGE),
    "印役割": any_of(P.USERS_MANAGE),
    "印差出人": any_of(P.SETTINGS_MANAGE, *DELIVERIES),
    "印規則": any_of(P.SETTINGS_MANAGE, P.TEMPLATES_EDIT, *DELIVERIES),
    "印トークン": NOBODY,
    # How many addresses there are; who sends sees how many get the mail.
    "1,237": any_of(P.ADDRESSES_VIEW, *DELIVERIES),
    "1237": any_of(P.ADDRESSES_VIEW, *DELIVERIES),
}
PEOPLE = 1237


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of requests: writing each into the log is a part of their time, and nobody reads it."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def holds(text: str, mark: str) -> bool:
    """True when the mark is in the text; a number not as a part of another one, of a moment or of a random name."""
    if not mark[0].isdigit():
        return mark in text
    return re.search(rf"(?<![\w.-]){mark}(?![\w-])", text, re.ASCII) is not None


def needs_of(method: str, path: str) -> Needs:
    """What opens the route; an error for a route that nobody has thought about."""
    for pattern, needs in RULES_OF_ROUTES:
        if re.match(pattern, f"{method} {path}"):
            return needs
    raise AssertionError(f"no rule for {method} {path}")


def opens(permissions: Iterable[P], needs: Needs) -> bool:
    return any(one <= frozenset(permissions) for one in needs)


async def furnish(world: World, tenant: TenantDb, me: Browser) -> dict[str, str]:
    """One of everything, each with its mark, made by the master; values for the parts of paths."""

    async def call(method: str, path: str, **options: object) -> dict[str, object]:
        answer = await me.api(method, f"/api/v1{path}", **options)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else {}

    mark = "印アドレス"
    person = await call("POST", "/addresses", json={
        "name": mark, "company": mark, "notes": mark, "postal_address": mark, "tags": ["印タグ"],
        "emails": ["address7f3a@x.example"],
    })  # fmt: skip
    # After the one, whose id shall not be the number that is looked for.
    async with world.server.inside(tenant.database) as db:
        await db.execute(
            "INSERT INTO address (name, sort_key, search_text, search_grams) "
            "SELECT '名' || n, n, n, '{}' FROM generate_series(1, $1) n",
            PEOPLE - 1,
        )
    await call("POST", "/attributes", json={"key": "mark", "label": "印項目", "type": "text"})
    await call(
        "POST", "/consents/address7f3a@x.example", json={"kind": "given", "source": "印同意", "wording": "印同意"}
    )
    await call("POST", "/suppressions", json={"email": "other@x.example", "detail": "印抑止"})
    tree = {"kind": "all", "of": []}
    segment = await call("POST", "/segments", json={"name": "印区分", "tree": tree})
    await call("POST", "/settings/sender-addresses", json={"email": SENDER, "name": "印差出人"})
    await call("PUT", "/settings/sender", json={**RULES, "organisation": "印規則"})
    template = await call("POST", "/templates", json={"name": "印雛形", "subject": "印雛形", "text_body": "印雛形"})
    texts = {"name": "印配信", "subject": "印配信", "text_body": "印配信", "category": "notice", "from_address": SENDER}
    delivery = await call("POST", "/deliveries", json={**texts, "segment_id": segment["id"]})
    role = await make_role(me, name="印役割")
    user = await invite(me, "user7f3a@x.example", role)
    await call("PUT", f"/users/{user}", json={"display_name": "印利用者", "roles": [role]})
    await call("POST", "/tokens", json={"name": "印トークン", "permissions": ["addresses:view"], "days": 1})
    await call("POST", "/exports", json={})
    ids = {"address_id": person, "segment_id": segment, "template_id": template, "delivery_id": delivery}
    return {
        **{name: str(found["id"]) for name, found in ids.items()},
        "user_id": str(user), "role_id": str(role), "email": "address7f3a@x.example", "program": "delete",
    }  # fmt: skip


def shut_out(needs: Needs) -> set[frozenset[P]]:
    """The most that somebody may have and still be refused: everything but one permission of each way in."""
    lacking = {frozenset(one) for one in product(*needs)}
    return {ALL - one for one in lacking if not any(other < one for other in lacking)}


@dataclass(frozen=True)
class Walk:
    """One caller at some routes that are not open to all the world."""

    browser: Browser
    permissions: frozenset[P]
    parts: Mapping[str, str]
    # An API token in place of a session: the routes of the API only, and none that asks for a person.
    bearer: str = ""

    async def wrong(self, calls: Iterable[tuple[str, str]]) -> list[tuple[str, object]]:
        """Calls that were let in or refused against the rules, and marks that were told."""
        found: list[tuple[str, object]] = []
        token = "" if self.bearer else (await self.browser.get("/api/v1/session")).json()["csrf_token"]
        for method, path in calls:
            needs = needs_of(method, path)
            open_ = opens(self.permissions, needs)
            assert method == "GET" or not open_, "it would change what the next one finds"
            where = re.sub(r"{(\w+)}", lambda part: self.parts.get(part[1], "1"), path)
            options = body(method, path, token)
            if self.bearer:
                options["headers"] = {"Authorization": f"Bearer {self.bearer}"}
            answer = await self.browser.client.request(method, where, **options)
            in_person = self.bearer and needs == EVERYBODY
            # Of an offer, those whom it does not concern are told that there is none.
            refused = answer.status_code == 403 or (needs == NOBODY and answer.status_code == 404)
            if answer.status_code >= 500 or (refused == open_ and not in_person):
                found.append((f"{method} {where}", answer.status_code))
            if answer.headers.get("content-type", "").startswith(("text", "application/")):
                found += [(f"{method} {where}", mark) for mark in self._told(answer.text, answer.url.path)]
        return found

    def _told(self, text: str, path: str) -> list[str]:
        # What the caller asked with may be said again.
        text = text.replace(self.parts["email"], "") if self.parts["email"] in path else text
        if P.AUDIT_VIEW in self.permissions:
            return []
        return [mark for mark, needs in MARKS.items() if holds(text, mark) and not opens(self.permissions, needs)]


def inner_routes() -> list[tuple[str, str]]:
    """Those that ask who is there."""
    return [one for one in routes() if one not in OPEN]


def refusing(api_only: bool = False) -> dict[frozenset[P], list[tuple[str, str]]]:
    """Which calls are to be refused to whom, by permissions."""
    found: dict[frozenset[P], list[tuple[str, str]]] = defaultdict(list)
    for method, path in inner_routes():
        if not api_only or path.startswith("/api/"):
            for some in shut_out(needs_of(method, path)):
                found[some].append((method, path))
    return found


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    there = [f"{method} {path}" for method, path in inner_routes()]
    assert all(needs_of(*one.split(" ", 1)) is not None for one in there)
    first = {next(n for n, (pattern, _) in enumerate(RULES_OF_ROUTES) if re.match(pattern, one)) for one in there}
    assert first == set(range(len(RULES_OF_ROUTES)))
    assert shut_out(EDIT) == {ALL - {P.ADDRESSES_VIEW}, ALL - {P.ADDRESSES_EDIT}}
    assert shut_out(any_of(*DELIVERIES)) == {ALL - set(DELIVERIES)}
    assert (shut_out(NOBODY), shut_out(EVERYBODY)) == ({ALL}, set())


async def test_no_permission_opens_or_shows_more_than_it_is_for(world: World, quiet: None) -> None:
    tenant = await world.tenant(limits={"addresses": 5000})
    me = await world.master(tenant)
    parts = await furnish(world, tenant, me)
    pages = (
        "/addresses", f"/addresses/{parts['address_id']}", f"/consents?email={parts['email']}", "/suppressions",
        "/segments", "/tags", "/settings/attributes", "/deliveries", "/templates", "/users", "/roles",
        "/settings/sender", "/account/tokens", "/api/v1/addresses?size=1", "/api/v1/suppressions",
    )  # fmt: skip
    shown = "".join([(await me.get(page)).text for page in pages])
    assert [mark for mark in MARKS if not holds(shown, mark)] == [], "what nobody is shown proves nothing"
    reading = [(method, path) for method, path in inner_routes() if method == "GET"]
    calls = {one: reading for one in (frozenset[P](), *(frozenset({one}) for one in P))}
    for some, refused in refusing().items():
        calls[some] = [*calls.get(some, []), *refused]
    users = {some: (await member(world, tenant, me, *sorted(some)))[0] for some in calls}
    before = await counted(world.server, tenant.database)
    wrong = {}
    for some, browser in users.items():
        if found := await Walk(browser, some, parts).wrong(calls[some]):
            wrong[", ".join(sorted(some)) or "none"] = found
    assert wrong == {}, json.dumps(wrong, ensure_ascii=False, indent=1)
    after = await counted(world.server, tenant.database)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"audit_entry", "notice_receipt"}, changed


async def test_a_masters_token_opens_no_more_than_its_scope(world: World, quiet: None) -> None:
    tenant = await world.tenant(limits={"addresses": 5000})
    me = await world.master(tenant)
    parts = await furnish(world, tenant, me)
    wrong = {}
    for some, calls in refusing(api_only=True).items():
        scope = {"name": "x", "permissions": sorted(some), "days": 1}
        made = await me.api("POST", "/api/v1/tokens", json=scope)
        assert made.status_code == 201, made.text
        if found := await Walk(world.browser(tenant.host), some, parts, made.json()["secret"]).wrong(calls):
            wrong[", ".join(sorted(some))] = found
    assert wrong == {}, json.dumps(wrong, ensure_ascii=False, indent=1)
