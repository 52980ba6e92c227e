"""Every text exists in Japanese and in English, and none is lost on the way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from elink_app.errors import LimitReached
from elink_app.messages import Message as Text
from elink_app.web.i18n import TRANSLATORS, choose_language, merged_catalog

SOURCE = Path(__file__).resolve().parents[3] / "tenant-app" / "src" / "elink_app"
MAPPING = [("**.py", "python"), ("web/templates/**.html", "jinja2")]
OPTIONS = {"**.html": {"trimmed": "true", "newstyle_gettext": "true"}}
PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]")


def source_texts() -> set[str | tuple[str, ...]]:
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None}
    found = extract_from_dir(str(SOURCE), MAPPING, OPTIONS, keywords)
    return {message for _, _, message, _, _ in found}


def japanese() -> Catalog:
    return merged_catalog("ja")


def entries() -> list[Message]:
    return [message for message in japanese() if message.id]


def test_japanese_has_exactly_the_texts_of_the_source() -> None:
    texts = source_texts()
    assert len(texts) > 100
    known = {message.id for message in entries()}
    assert sorted(map(str, texts - known)) == []
    assert sorted(map(str, known - texts)) == []


def test_no_translation_is_empty_or_doubtful() -> None:
    for message in entries():
        strings = message.string if isinstance(message.string, tuple | list) else (message.string,)
        assert all(strings), message.id
        assert not message.fuzzy, message.id


def test_japanese_is_japanese_and_keeps_the_placeholders() -> None:
    kana_or_kanji = re.compile("[ぁ-んァ-ヶ一-龠]")
    for message in entries():
        ids = message.id if isinstance(message.id, tuple | list) else (message.id,)
        strings = message.string if isinstance(message.string, tuple | list) else (message.string,)
        for string in strings:
            assert kana_or_kanji.search(string), message.id
            assert set(PLACEHOLDER.findall(string)) == set(PLACEHOLDER.findall(ids[0])), message.id


def test_one_word_for_one_thing() -> None:
    manual = "".join(file.read_text("utf-8") for file in sorted((SOURCE / "manual" / "pages" / "ja").iterdir()))
    texts = [str(message.string) for message in entries()] + [manual]
    for other, word in (
        ("サーバ(?!ー)", "サーバー"),
        ("ブラウザ(?!ー)", "ブラウザー"),
        ("ユーザ(?!ー)", "ユーザー"),
        ("インポート|エクスポート", "取り込み、書き出し"),
        ("配信先|送信先|送り先", "宛先"),
        ("(?<![ァ-ヶー])ロール(?!バック)", "役割"),
        ("管理者アカウント", "マスターアカウント"),
    ):
        assert [text for text in texts if re.search(other, text)] == [], word


def test_templates_hold_no_text_that_is_not_marked() -> None:
    for template in sorted((SOURCE / "web" / "templates").glob("*.html")):
        text = re.sub(
            r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<script.*?</script>", "", template.read_text("utf-8"), flags=re.S
        )
        text = re.sub(r"<[^>]*>", " ", text)
        text = re.sub(r'[a-z-]+="[^"]*"', " ", text)
        words = [word for word in re.findall(r"[A-Za-z]{3,}", text) if word not in ("elink", "English", "plain")]
        assert words == [], template.name


def test_times_are_in_jst() -> None:
    moment = datetime(2026, 3, 31, 15, 5, tzinfo=UTC)
    assert TRANSLATORS["ja"].moment(moment) == "2026年4月1日 0:05 JST"
    assert TRANSLATORS["en"].moment(moment) == "1 Apr 2026, 0:05 JST"


def test_messages_with_parameters() -> None:
    error = LimitReached(5)
    assert "5 件" in TRANSLATORS["ja"].text(error.detail)
    assert "up to 5 addresses" in TRANSLATORS["en"].text(error.detail)
    assert TRANSLATORS["en"].text(Text("100% sure")) == "100% sure"
    assert TRANSLATORS["ja"].number(12345) == "12,345"


@pytest.mark.parametrize(
    ("cookie", "tenant", "accept", "language"),
    [
        ("en", "ja", "ja", "en"),
        ("fr", "en", "ja", "en"),
        (None, "en", "ja", "en"),
        (None, "", "en-US,en;q=0.9,ja;q=0.8", "en"),
        (None, "", "fr, ja;q=0.5, en;q=0.4", "ja"),
        (None, "", "en;q=0, ja;q=0.1", "ja"),
        (None, "", "en;q=x", "ja"),
        (None, "", "", "ja"),
        (None, "", None, "ja"),
        ("<script>", "", "x" * 10000, "ja"),
    ],
)
def test_choice_of_language(cookie: str | None, tenant: str, accept: str | None, language: str) -> None:
    assert choose_language(cookie=cookie, tenant=tenant, accept=accept) == language
