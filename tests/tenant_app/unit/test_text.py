"""Japanese text in the forms in which it is compared and sorted."""

from __future__ import annotations

import re
import unicodedata

import jaconv
import pytest
from elink_app.addresses.computed import search_fields
from elink_app.addresses.schemas import AddressInput
from elink_app.emails import clean_email, email_key
from elink_app.text import grams, has_refused_character, is_kana, kana_sort_key, search_form, search_terms, to_katakana
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("ヤマダ　タロウ", "やまだたろう"),
        ("ﾔﾏﾀﾞ", "やまだ"),
        ("ＡＢＣ", "abc"),
        ("髙﨑", "高崎"),
        ("㈱elink", "(株)elink"),
        ("Straße", "strasse"),
        ("①", "1"),
        ("", ""),
    ],
)
def test_search_form(value: str, form: str) -> None:
    assert search_form(value) == form
    assert search_form(form) == form


@pytest.mark.parametrize(
    ("value", "kana"), [("やまだ たろう", "ヤマダ タロウ"), ("ﾔﾏﾀﾞ　ﾀﾛｳ", "ヤマダ タロウ"), (" ー ", "ー"), ("ゔ", "ヴ")]
)
def test_to_katakana(value: str, kana: str) -> None:
    assert to_katakana(value) == kana
    assert is_kana(kana)


def test_is_kana() -> None:
    assert is_kana("エミリー・O'Neil 2")
    assert not is_kana("漢字")
    assert not is_kana("ひらがな")


def test_search_terms() -> None:
    assert search_terms(" 山田　タロウ 山田 ") == ["山田", "たろう"]
    assert len(search_terms(" ".join(map(str, range(100))))) == 8
    assert search_terms("\t\n") == []


def test_the_order_of_the_fifty_sounds() -> None:
    wanted = ["アイ", "アオ", "カ", "ガ", "カア", "ガア", "ハハ", "ババ", "パパ", "ハバ", "ヨウ", "ン"]
    keys = [kana_sort_key(reading, "x") for reading in ("カ", "ガ", "カア", "ガア")]
    assert keys == sorted(keys)
    assert kana_sort_key("ショウ", "") < kana_sort_key("ショウガ", "") < kana_sort_key("シヨウコ", "")
    assert kana_sort_key("ソン", "") > kana_sort_key("セン", "") > kana_sort_key("ズン", "")
    assert kana_sort_key("", "山田") > kana_sort_key("ン", wanted[0])


@given(st.text(max_size=80), st.data())
def test_every_part_of_a_text_is_found_by_its_pairs(value: str, data: st.DataObject) -> None:
    form = search_form(value)
    start = data.draw(st.integers(0, len(form)))
    end = data.draw(st.integers(start, len(form)))
    assert set(grams(form[start:end])) <= set(grams(form))


@given(st.text(max_size=60))
def test_keys_never_hold_what_postgresql_refuses(value: str) -> None:
    if has_refused_character(value):
        return
    form = search_form(value) + kana_sort_key(value, value)
    assert "\0" not in form


def test_search_looks_through_every_field_and_digits_of_the_phone() -> None:
    data = AddressInput(name="山田", phone="03-1234-5678", notes="秘密")
    text, pairs = search_fields(data, ["taro@example.jp"], {"rank": "金", "vip": True, "since": 2020})
    assert text.split("\n") == ["山田", "taro@example.jp", "03-1234-5678", "0312345678", "秘密", "金", "2020"]
    assert "山田" in pairs


@pytest.mark.parametrize(
    ("given_value", "cleaned"),
    [
        ("a@Example.JP", "a@example.jp"),
        (" a@b.jp ", "a@b.jp"),
        ("a..b@docomo.ne.jp", "a..b@docomo.ne.jp"),
        ("a.@EZWEB.ne.jp", "a.@ezweb.ne.jp"),
        ("..a@docomo.ne.jp", None),
        ("a..b@example.jp", None),
        ("日本@b.jp", None),
        ("a@日本語.jp", "a@xn--wgv71a119e.jp"),
        ("a@b", None),
        ("a b@c.jp", None),
        ("a@b.jp\r\nBcc: c@d.jp", None),
        ("a\r\n@docomo.ne.jp", None),
        ("@docomo.ne.jp", None),
        ("x" * 65 + "@docomo.ne.jp", None),
        ("a@[127.0.0.1]", None),
        ("", None),
    ],
)
def test_clean_email(given_value: str, cleaned: str | None) -> None:
    assert clean_email(given_value) == cleaned


def test_email_key() -> None:
    assert email_key(" A@B.JP ") == "a@b.jp"


_VARIANTS = str.maketrans("髙﨑濵濱邊邉齋齊斎冨𠮷德", "高崎浜浜辺辺斉斉斉富吉徳")


def test_the_fast_forms_are_what_the_long_way_gives_for_every_character() -> None:
    for code in (*range(0xD800), *range(0xE000, 0x30000)):
        value = f"a{chr(code)}b"
        folded = unicodedata.normalize("NFKC", value).casefold().translate(_VARIANTS)
        assert search_form(value) == re.sub(r"\s+", "", jaconv.kata2hira(folded)), hex(code)
        wide = unicodedata.normalize("NFKC", value)
        assert to_katakana(value) == re.sub(r"\s+", " ", jaconv.hira2kata(wide)).strip(), hex(code)


def test_every_refused_character_is_found_beside_others() -> None:
    refused = [*range(9), 11, 12, *range(14, 32), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F)]
    refused += [*range(0x2066, 0x206A), 0xFEFF, *range(0xFFF9, 0xFFFC), 0xFFFE, 0xFFFF]
    for code in refused:
        assert has_refused_character(f"山{chr(code)}田", multiline=True), hex(code)
    for code in (9, 10, 13, 0x2028, 0x2029):
        assert has_refused_character(f"山{chr(code)}田")
        assert not has_refused_character(f"山{chr(code)}田", multiline=True)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("1000001", "100-0001"), ("〒100ー0001", "100-0001"), ("JP 1000001", "JP 100-0001"), ("SW1A 1AA", "SW1A 1AA")],
)
def test_japanese_postal_codes_get_their_dash(typed: str, kept: str) -> None:
    assert AddressInput(name="a", postal_code=typed).postal_code == kept
