"""The quick way of accepting an e-mail accepts nothing that the whole check refuses or changes."""

from __future__ import annotations

from elink_app.emails import _PLAIN, clean_email
from email_validator import validate_email
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=500)
@given(st.from_regex(_PLAIN, fullmatch=True))
def test_the_quick_way_is_a_subset(value: str) -> None:
    found = validate_email(value, check_deliverability=False, allow_smtputf8=False, strict=True)
    assert clean_email(value) == value == f"{found.local_part}@{found.ascii_domain}"


def test_what_is_no_address_stays_none() -> None:
    for value in ("a@b", "a b@x.jp", "a@x..jp", "@x.jp", "a@-x.jp", "a@x-.jp", "a@x.jp\n.", "a..b@x.jp", ".a@x.jp"):
        assert clean_email(value) is None, value
