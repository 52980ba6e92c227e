"""What a search looks through: every pair of neighbours within a field, and none across two."""

from __future__ import annotations

from elink_app.addresses.computed import search_fields
from elink_app.addresses.schemas import AddressInput
from elink_app.text import grams, search_form
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(max_size=9), st.text(max_size=9), st.lists(st.text(max_size=9), max_size=3))
def test_the_index_holds_the_pairs_of_each_field(name: str, notes: str, values: list[str]) -> None:
    own = {str(number): value for number, value in enumerate(values)}
    data = AddressInput.model_construct(name=name, notes=notes)
    text, index = search_fields(data, [], own)
    forms = [search_form(part) for part in (name, notes, *values)]
    assert index == sorted(set().union(*map(grams, forms)))
    assert text.split("\n") == (list(dict.fromkeys(filter(None, forms))) or [""])
