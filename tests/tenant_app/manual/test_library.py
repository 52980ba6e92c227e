"""The manual: the same in both languages, links that lead somewhere, labels that the app has."""

from __future__ import annotations

import re

import pytest
from elink_app.manual import library
from elink_app.templates.fields import BUILT_IN
from elink_app.web.i18n import merged_catalog

LANGUAGES = ("ja", "en")


def test_both_languages_have_the_same_pages_and_headings() -> None:
    shapes = [
        [(page.name, [(one.anchor, one.level) for one in page.sections]) for page in library.pages(language)]
        for language in LANGUAGES
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) >= 11
    for name, sections in shapes[0]:
        assert len({anchor for anchor, _ in sections}) == len(sections), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_leads_to_a_page_and_an_anchor(language: str) -> None:
    seen = 0
    for page in library.pages(language):
        for target in re.findall(r'href="([^"]*)"', page.html):
            found = re.fullmatch(r"/manual/([a-z-]+)#([a-z-]+)", target)
            assert found, (page.name, target)
            there = library.find(language, found[1])
            assert there is not None, target
            assert f'id="{found[2]}"' in there.html, target
            seen += 1
    assert seen >= 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_quoted_labels_are_texts_of_the_app(language: str) -> None:
    messages = [message for message in merged_catalog("ja") if message.id]
    known = {str(message.string if language == "ja" else message.id) for message in messages}
    quoted = [label for page in library.pages(language) for section in page.sections for label in section.labels]
    assert len(quoted) > 30
    assert sorted(set(quoted) - known) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_of_the_manual_are_fields(language: str) -> None:
    texts = [section.text for page in library.pages(language) for section in page.sections]
    named = re.findall(r"\{\{([^|}]+)", " ".join(texts))
    assert named
    assert set(named) <= set(BUILT_IN)


def test_search_finds_sections_whatever_width_and_case() -> None:
    assert [(one.page.name, one.section.anchor) for one in library.search("ja", "ＣＳＶ　tsv")] == [
        ("transfer", "transfer")
    ]
    assert library.search("en", "RECOVERY codes")
    assert library.search("ja", "差し戻す")[0].section.anchor == "send"
    assert library.search("ja", "  ") == []
    assert library.search("en", "recovery nowhere-at-all") == []


def test_html_in_a_source_is_text_and_anchors_are_demanded() -> None:
    page = library.read_page("x", "# T {#t}\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) <b>x</b>\n")
    assert "<script" not in page.html
    assert "<b>" not in page.html
    assert "href" not in page.html
    with pytest.raises(ValueError, match="anchor"):
        library.read_page("x", "# No anchor\n")
