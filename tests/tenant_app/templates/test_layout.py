"""HTML of mails: what is kept, what goes, and that nothing is loaded or run."""

from __future__ import annotations

import pytest
from elink_app.templates.layout import Layout, LayoutError, before_end_of_body, render, to_text

BASE = "https://sakura.example"


def test_mjml_becomes_a_clean_page_with_its_placeholders() -> None:
    source = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>{{名前|お客様}} 様</mj-text></mj-column>"
        "<mj-column><mj-button href='https://example.jp/'>見る</mj-button></mj-column></mj-section></mj-body></mjml>"
    )
    page = render(Layout.MJML, source, base_url=BASE)
    assert "{{名前|お客様}} 様" in page
    assert 'href="https://example.jp/"' in page
    assert ".mj-column-per-50{width:50%!important;max-width:50%}" in page
    assert page.count("<style>") == 1
    assert "fonts.googleapis.com" not in page


def test_styles_are_written_into_the_elements() -> None:
    page = render(Layout.HTML, "<style>p{color:red;position:fixed}</style><p>あ</p>", base_url=BASE)
    assert '<p style="color:red">あ</p>' in page


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>あ", "<p onclick='alert(1)'>あ</p>", "<a href='javascript:alert(1)'>あ</a>",
        "<a href='JaVa\tScript:alert(1)'>あ</a>", "<iframe src='https://evil.example'></iframe>あ",
        "<svg onload='alert(1)'><script>alert(1)</script></svg>あ", "<object data='x'></object>あ",
        "<form action='https://evil.example'><input name='p'></form>あ", "<meta http-equiv='refresh' content='0'>あ",
        "<link rel='stylesheet' href='http://169.254.169.254/latest'>あ",
        "<style>@import url('http://169.254.169.254/')</style><p style='background:url(http://evil.example/)'>あ</p>",
        "<img src='data:image/svg+xml,<svg onload=alert(1)>'>あ", "<base href='https://evil.example'>あ",
        "<p style='position:fixed;top:0'>あ</p>",
        "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>あ",
        "<!--[if mso]><script>alert(1)</script><![endif]-->あ", "<template><script>alert(1)</script></template>あ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", [Layout.HTML, Layout.MJML])
def test_nothing_active_survives(source: str, layout: Layout) -> None:
    if layout is Layout.MJML:
        source = f"<mjml><mj-body><mj-raw>{source}</mj-raw></mj-body></mjml>"
    try:
        page = render(layout, source, base_url=BASE).lower()
    except LayoutError:
        return
    assert "あ" in page
    for word in ("<script", "onclick", "onload", "onerror", "javascript:", "<iframe", "<form", "<input", "<link",
                 "http-equiv", "169.254", "evil.example", "<svg", "<object", "data:", "position", "url("):  # fmt: skip
        assert word not in page, word


def test_includes_are_refused() -> None:
    for path in ("/etc/passwd", "http://169.254.169.254/latest", "file:///etc/passwd", "../../settings.py"):
        source = f"<mjml><mj-body><mj-include path='{path}' /></mj-body></mjml>"
        with pytest.raises(LayoutError) as refused:
            render(Layout.MJML, source, base_url=BASE)
        assert refused.value.code == "mjml_include"


@pytest.mark.parametrize(
    "source", ["plain", "<mjml>", "<mjml><mj-foo/></mjml>", "<!DOCTYPE x [<!ENTITY a 'b'>]><mjml/>"]
)
def test_wrong_mjml_is_named_so(source: str) -> None:
    with pytest.raises(LayoutError) as refused:
        render(Layout.MJML, source, base_url=BASE)
    assert refused.value.code == "mjml"


def test_links_may_hold_values_behind_the_host_only() -> None:
    page = render(
        Layout.HTML,
        "<a href='{{会社}}'>1</a><a href='https://{{会社}}/'>2</a><a href='https://a.example/?c={{会社}}'>3</a>"
        "<a href='{{配信停止URL}}'>4</a><a href='mailto:{{メール}}'>5</a><img src='{{会社}}' alt=''>",
        base_url=BASE,
    )
    assert "<a>1</a>" in page
    assert "<a>2</a>" in page
    assert '<a href="https://a.example/?c={{会社}}">3</a>' in page
    assert '<a href="{{配信停止URL}}">4</a>' in page
    assert "<a>5</a>" in page
    assert '<img alt="">' in page


def test_uploaded_images_get_the_host() -> None:
    name = "a" * 26
    page = render(Layout.HTML, f"<img src='/files/img/{name}.png' alt=''><img src='/etc/passwd' alt=''>", base_url=BASE)
    assert f'src="{BASE}/files/img/{name}.png"' in page
    assert "passwd" not in page


def test_defaults_are_text_again() -> None:
    assert "{{会社|A&B}}" in render(Layout.HTML, "<p>{{会社|A&B}}</p>", base_url=BASE)


def test_text_part_and_addition_at_the_end() -> None:
    page = render(Layout.HTML, "<h1>見出し</h1><p>一行<br>二行</p></body></html>", base_url=BASE)
    assert to_text(page).split() == ["見出し", "一行", "二行"]
    longer = before_end_of_body(page, "<p>footer</p>")
    assert longer.endswith("<p>footer</p>\n</body></html>\n")
    assert longer.count("</body>") == 1
