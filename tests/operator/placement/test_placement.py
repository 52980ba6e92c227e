"""Where a Shared tenant goes, and the sentence that says why."""

from dataclasses import replace

import pytest
from elink_operator.placement import Candidate, Placed, Unplaced, Wish, choose
from hypothesis import given
from hypothesis import strategies as st

OPEN = Candidate("s1", shared=True, region="jp", cordoned=False, deleting=False, ready=True, tenants=3, max_tenants=10)
ANYWHERE = Wish(region="jp")


def named(name: str, **changes: object) -> Candidate:
    return replace(OPEN, name=name, **changes)  # type: ignore[arg-type]


def test_least_filled_share_wins_not_the_smallest_number() -> None:
    small = named("small", tenants=4, max_tenants=5)
    large = named("large", tenants=50, max_tenants=100)
    chosen = choose(ANYWHERE, [small, large])
    assert chosen == Placed("large", "least filled of 2 open servers in region jp: 50 of 100 places taken")


def test_a_ready_server_goes_before_an_emptier_one_that_is_being_built() -> None:
    chosen = choose(ANYWHERE, [named("new", tenants=0, ready=False), named("old", tenants=9)])
    assert isinstance(chosen, Placed)
    assert chosen.server == "old"


def test_a_server_in_the_making_is_better_than_none() -> None:
    chosen = choose(ANYWHERE, [named("new", ready=False)])
    assert chosen == Placed("new", "the only open server in region jp: 3 of 10 places taken")


def test_ties_are_broken_by_name_whatever_the_order() -> None:
    servers = [named("b"), named("a"), named("c")]
    for order in (servers, servers[::-1]):
        chosen = choose(ANYWHERE, order)
        assert isinstance(chosen, Placed)
        assert chosen.server == "a"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tenants": 10}, "s1 is full"),
        ({"cordoned": True}, "s1 is cordoned"),
        ({"deleting": True}, "s1 is being deleted"),
        ({"region": "us"}, "s1 is in region us"),
    ],
)
def test_why_no_server_fits(change: dict[str, object], words: str) -> None:
    refused = choose(ANYWHERE, [named("s1", **change)])
    assert isinstance(refused, Unplaced)
    assert refused.reason == "NoServerWithRoom"
    assert words in refused.message
    assert "raise its maxTenants" in refused.message


def test_no_shared_server_at_all() -> None:
    refused = choose(ANYWHERE, [named("own", shared=False)])
    assert isinstance(refused, Unplaced)
    assert refused.reason == "NoSharedServer"
    assert "create one in region jp" in refused.message


def test_a_pin_is_followed_even_if_others_are_emptier() -> None:
    assert choose(Wish("jp", pin="full"), [named("full", tenants=9), named("empty", tenants=0)]) == Placed(
        "full", "pinned by spec.server"
    )


def test_a_pin_that_cannot_be_followed_says_why() -> None:
    missing = choose(Wish("jp", pin="gone"), [OPEN])
    assert isinstance(missing, Unplaced)
    assert missing.reason == "PinnedServerMissing"
    cordoned = choose(Wish("jp", pin="s1"), [named("s1", cordoned=True)])
    assert isinstance(cordoned, Unplaced)
    assert cordoned.reason == "PinnedServerUnfit"
    assert "which is cordoned" in cordoned.message


candidates = st.builds(
    Candidate,
    name=st.from_regex(r"[a-z]{1,5}", fullmatch=True),
    shared=st.booleans(),
    region=st.sampled_from(["jp", "us"]),
    cordoned=st.booleans(),
    deleting=st.booleans(),
    ready=st.booleans(),
    tenants=st.integers(0, 5),
    max_tenants=st.integers(1, 5),
)


@given(st.lists(candidates, max_size=6, unique_by=lambda c: c.name), st.randoms())
def test_never_on_an_unfit_server_and_never_dependent_on_order(servers: list[Candidate], shuffle: object) -> None:
    first = choose(ANYWHERE, servers)
    mixed = list(servers)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert choose(ANYWHERE, mixed) == first
    fit = {
        c.name
        for c in servers
        if c.shared and c.region == "jp" and not c.cordoned and not c.deleting and c.tenants < c.max_tenants
    }
    if isinstance(first, Placed):
        assert first.server in fit
    else:
        assert not fit
