"""The pages of the manual: read once, rendered, searched. Sources: `pages/{ja,en}/NN-name.md`.

A heading ends with its anchor, `{#name}`; a link to another page is `name.md#anchor`; **bold** is a label of the app;
a picture, `![text](name-1.webp)`, lies in `pictures/{ja,en}` and is made by tests/tenant_app/browser/test_manual.py.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_ANCHOR = re.compile(r"\s*\{#([a-z-]+)\}\Z")
_PICTURE = re.compile(r"[a-z]{1,20}-[1-9]\.webp\Z")
_LINK = re.compile(r"([a-z-]+)\.md(#[a-z-]+)?\Z")


@dataclass(frozen=True)
class Section:
    """A heading with the text below it; `labels` are the app's texts that it quotes."""

    anchor: str
    title: str
    level: int
    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """One page; `html` is safe: the sources are ours, and HTML in them would be escaped."""

    name: str
    sections: tuple[Section, ...]
    html: Markup

    @property
    def title(self) -> str:
        """The first heading."""
        return self.sections[0].title


@dataclass(frozen=True)
class Found:
    """A section that holds all words that were looked for."""

    page: Page
    section: Section


@cache
def pages(language: str) -> tuple[Page, ...]:
    """The manual in one language, in its order."""
    folder = resources.files("elink_app.manual").joinpath("pages", language)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return tuple(read_page(file.name[3:-3], file.read_text("utf-8"), language) for file in files)


@cache
def picture(language: str, name: str) -> bytes | None:
    """A picture of the manual (WebP), or None when there is no such one."""
    if language not in ("ja", "en") or not _PICTURE.match(name):
        return None
    file = resources.files("elink_app.manual").joinpath("pictures", language, name)
    return file.read_bytes() if file.is_file() else None


def find(language: str, name: str) -> Page | None:
    """One page by its name."""
    return next((page for page in pages(language) if page.name == name), None)


def search(language: str, words: str) -> list[Found]:
    """The sections that hold every word, in the order of the manual; widths and capitals make no difference."""
    wanted = _form(words).split()
    if not wanted:
        return []
    return [
        Found(page, section)
        for page in pages(language)
        for section in page.sections
        if all(word in _form(f"{section.title} {section.text}") for word in wanted)
    ]


def read_page(name: str, source: str, language: str = "ja") -> Page:
    """Render one source; raises ValueError for a heading without an anchor."""
    markdown = MarkdownIt("commonmark", {"html": False})
    tokens = markdown.parse(source)
    sections: list[Section] = []
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            sections.append(_heading(token, following))
        elif token.type == "inline" and token.level and sections:
            _link_pages(token)
            _name_pictures(token, language)
            if token.content != sections[-1].title:
                sections[-1] = _longer(sections[-1], token)
    return Page(name, tuple(sections), Markup(markdown.renderer.render(tokens, markdown.options, {})))  # noqa: S704


def _heading(opening: Token, inline: Token) -> Section:
    found = _ANCHOR.search(inline.content)
    if found is None or not inline.children:
        raise ValueError(f"a heading without an anchor: {inline.content}")
    inline.content = _ANCHOR.sub("", inline.content)
    inline.children[-1].content = _ANCHOR.sub("", inline.children[-1].content)
    opening.attrSet("id", found[1])
    return Section(found[1], inline.content, int(opening.tag[1]), "", ())


def _link_pages(inline: Token) -> None:
    for child in inline.children or []:
        target = _LINK.match(str(child.attrGet("href") or ""))
        if child.type == "link_open" and target:
            child.attrSet("href", f"/manual/{target[1]}{target[2] or ''}")


def _name_pictures(inline: Token, language: str) -> None:
    for child in inline.children or []:
        if child.type == "image" and _PICTURE.match(str(child.attrGet("src"))):
            child.attrSet("src", f"/manual/pictures/{language}/{child.attrGet('src')}")
            child.attrSet("loading", "lazy")


def _longer(section: Section, inline: Token) -> Section:
    children = inline.children or []
    labels = tuple(after.content for before, after in pairwise(children) if before.type == "strong_open")
    text = "".join(child.content for child in children)
    return Section(
        section.anchor, section.title, section.level, f"{section.text} {text}".strip(), section.labels + labels
    )


def _form(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
