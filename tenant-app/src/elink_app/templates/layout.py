"""HTML of mails: from MJML or raw HTML to one clean document that loads nothing and runs nothing. Pure functions."""

from __future__ import annotations

import html
import re
from enum import StrEnum
from urllib.parse import urlsplit

import css_inline
import nh3
from inscriptis import get_text  # type: ignore[import-untyped]
from mjml import mjml2html

from elink_app.mail.placeholders import UNSUBSCRIBE_FIELD, Placeholder, PlaceholderError, parse

_TAGS = frozenset(nh3.ALLOWED_TAGS) | {"tfoot"}
_ATTRIBUTES = {
    "*": {"align", "dir", "lang", "role", "style", "title", "valign", "bgcolor", "width", "height", "class"},
    "a": {"href"},
    "img": {"src", "alt", "border"},
    "table": {"border", "cellpadding", "cellspacing", "summary"},
    "td": {"colspan", "rowspan", "headers"},
    "th": {"colspan", "rowspan", "headers", "scope"},
    "ol": {"start", "type"},
}
# Nothing that positions content over the mail program's own, and nothing that takes an address to load from.
_PROPERTIES = frozenset(
    """
    background-color border border-bottom border-collapse border-color border-left border-radius border-right
    border-spacing border-style border-top border-width box-sizing color direction display font-family font-size
    font-style font-weight height letter-spacing line-height margin margin-bottom margin-left margin-right margin-top
    max-width min-width outline padding padding-bottom padding-left padding-right padding-top text-align
    text-decoration text-transform vertical-align white-space width word-break word-spacing
    """.split()  # noqa: SIM905 - a list of forty lines would hide what is not in it
)
_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
_COLUMN_CLASS = re.compile(r"mj-column-(per|px)-([0-9]{1,4})(?:-([0-9]{1,6}))?\Z")
_IMAGE_PATH = re.compile(r"/files/img/[a-z0-9]{26}\.(png|jpg|gif|webp)\Z")
_PLACEHOLDER = re.compile(r"\{\{[^{}]{0,400}\}\}")
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False, keep_link_tags=False)


class Layout(StrEnum):
    """The language in which an HTML part is written; `none`: the mail is plain text only."""

    NONE = "none"
    HTML = "html"
    MJML = "mjml"


class LayoutError(ValueError):
    """The source cannot be made into a mail. `code` is a key of the sentences in `validation`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def render(layout: Layout, source: str, *, base_url: str) -> str:
    """The HTML part with placeholders still in it; empty for an empty source. Raises LayoutError.

    `base_url` (`https://host`) stands before the paths of uploaded images. Includes and outside style sheets are not
    loaded, whatever the source says.
    """
    if layout is Layout.NONE or not source.strip():
        return ""
    try:
        compiled = _compile_mjml(source) if layout is Layout.MJML else source
        inlined = _INLINER.inline(compiled)
    except (css_inline.InlineError, RecursionError) as error:
        raise LayoutError("html_unreadable") from error
    # The mail's maker escapes defaults like values: what the cleaner wrote as entities there is text again.
    body = _PLACEHOLDER.sub(lambda found: html.unescape(found[0]), _cleaner(base_url).clean(inlined))
    if not body.strip():
        raise LayoutError("html_empty")
    return document(body, _columns(body))


def document(body: str, styles: str = "") -> str:
    """The frame around a clean body; the only style sheet is one that we wrote ourselves."""
    style = f"<style>{styles}</style>" if styles else ""
    return (
        '<!DOCTYPE html>\n<html lang="ja"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{style}</head>\n<body>\n'
        f"{body.strip()}\n</body></html>\n"
    )


def before_end_of_body(page: str, addition: str) -> str:
    """`addition` (clean HTML) as the last thing in a document of `document`."""
    head, end, tail = page.rpartition("\n</body></html>")
    return f"{head}\n{addition}{end}{tail}"


def to_text(page: str) -> str:
    """A plain text part for people whose mail program shows no HTML."""
    return "\n".join(line.rstrip() for line in get_text(page).strip().splitlines())


def _compile_mjml(source: str) -> str:
    try:
        return mjml2html(source, disable_comments=True, fonts={}, include_loader=_no_includes)
    except ValueError as error:
        code = "mjml_include" if "include" in str(error) else "mjml"
        raise LayoutError(code) from error


def _no_includes(path: str) -> str:
    raise ValueError(f"include {path}")


def _cleaner(base_url: str) -> nh3.Cleaner:
    def relative(url: str) -> str | None:
        if _is_unsubscribe_link(url):
            return "{{" + UNSUBSCRIBE_FIELD + "}}"
        return base_url + url if _IMAGE_PATH.match(url) else None

    def attribute(tag: str, name: str, value: str) -> str | None:
        if name in ("href", "src"):
            return value if _is_safe_url(value, tag) else None
        if name == "class":
            return " ".join(word for word in value.split() if _COLUMN_CLASS.match(word)) or None
        return value

    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags={"script", "style", "title", "head", "svg", "math", "template", "noscript", "xml", "iframe"},
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=attribute,
        link_rel=None,
        url_schemes=set(_SCHEMES),
        url_relative=relative,
        filter_style_properties=set(_PROPERTIES),
    )


def _is_unsubscribe_link(url: str) -> bool:
    try:
        return parse(html.unescape(url).strip()) == [Placeholder(UNSUBSCRIBE_FIELD)]
    except PlaceholderError:
        return False


def _is_safe_url(url: str, tag: str) -> bool:
    """A value of the address book must not choose where a link leads: placeholders only behind the host."""
    if _is_unsubscribe_link(url):
        return tag == "a"
    scheme, colon, rest = url.partition(":")
    if not colon:
        return _IMAGE_PATH.match(url) is not None
    if scheme.lower() in ("mailto", "tel"):
        return tag == "a" and "{{" not in rest
    try:
        return "{{" not in urlsplit(url).netloc and bool(urlsplit(url).netloc)
    except ValueError:
        return False


def _columns(body: str) -> str:
    """MJML's columns stand side by side on wide screens: its rules, written anew from the class names."""
    rules = []
    for name in sorted(set(re.findall(r"mj-column-[a-z0-9-]+", body))):
        found = _COLUMN_CLASS.match(name)
        if found:
            width = f"{found[2]}.{found[3]}" if found[3] else found[2]
            unit = "%" if found[1] == "per" else "px"
            rules.append(f".{name}{{width:{width}{unit}!important;max-width:{width}{unit}}}")
    return f"@media only screen and (min-width:480px){{{''.join(rules)}}}" if rules else ""
