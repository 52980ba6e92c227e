"""What the documents say is there: links, commands, examples, decisions, licences."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for folder in ("docs", "charts", ".") for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"```.*?```", re.S)
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.S)


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).replace(" ", "-") for h in headings}


def test_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= {p.name for p in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{target}: no such heading"


def make_targets() -> set[str]:
    files = [ROOT / "Makefile", *(ROOT / "hack" / "mk").glob("*.mk")]
    return {name for file in files for name in re.findall(r"^([a-z][a-z0-9-]*):", file.read_text(), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    code = "\n".join(_CODE.findall(page.read_text()))
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", code, re.M))
    assert named <= make_targets(), named - make_targets()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_named_in_code_marks_exist(page: Path) -> None:
    """`charts/…`, `hack/…` and the like are read as paths from the root."""
    roots = ("charts/", "hack/", "examples/", "requirements/", "tests/", "operator/src/", "tenant-app/src/", "docs/")
    for text in re.findall(r"`([^`\n]+)`", page.read_text()):
        if text.startswith(roots) and not re.search(r"[<>*…{} ]", text):
            assert (ROOT / text).exists(), f"`{text}` does not exist"


def test_what_stays_on_the_machine_is_listed() -> None:
    from hack.cluster import packages

    page = (ROOT / "docs" / "first-ten-minutes.md").read_text()
    tests = re.findall(r"^  \[([\w-]+)\]=|missing\+=\(([\w-]+)\)", (ROOT / "hack" / "prerequisites").read_text(), re.M)
    for kind, wanted in (
        ("of the native cluster", [*packages.NODE, *packages.BUILD]),
        ("of the tests", [one or other for one, other in tests]),
    ):
        (listed,) = re.findall(rf"Debian packages {kind}: ([^(|]+) \(", page)
        assert sorted(listed.split(", ")) == sorted(wanted)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_operators_own_command_is_run_where_it_is(page: Path) -> None:
    """Nobody has `elink-operator` on the PATH: a command that is printed for copying goes into its pod."""
    for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.splitlines():
            assert not re.search(r"(^|\| *)elink-operator (changes|erasures|rebuild)", line), line


def test_every_kind_is_on_the_map() -> None:
    names = [path.name.split(".")[0] for path in (ROOT / "crds").glob("*.yaml")]
    page = (ROOT / "docs" / "architecture.md").read_text()
    row = next(line for line in page.splitlines() if "API group/version" in line)
    assert sorted(re.findall(r"`(elink[a-z]+s)`", row)) == sorted(names)


def test_decisions_are_listed_and_numbered() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(p for p in folder.glob("[0-9]*.md"))
    assert [int(p.name[:4]) for p in pages] == list(range(1, len(pages) + 1))
    index = (folder / "README.md").read_text()
    for page in pages:
        assert f"]({page.name})" in index, page.name
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]}: ")
        for heading in ("Status: ", "## Context", "## Decision", "## Consequences"):
            assert heading in text, f"{page.name}: {heading}"


@pytest.mark.parametrize("script", ["licences.py", "settings_page.py"])
def test_generated_pages_are_fresh(script: str) -> None:
    """Of licences.py also: nothing that is not allowed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "hack" / script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", []),
        ("MIT OR GPL-3.0-only", []),
        ("MIT AND GPL-3.0-only", ["GPL-3.0-only"]),
        ("MPL-2.0 AND (Apache-2.0 OR GPL-3.0-only)", []),
        ("MPL-2.0 AND (AGPL-3.0-only OR GPL-3.0-only)", ["AGPL-3.0-only", "GPL-3.0-only"]),
        ("unknown", ["unknown"]),
    ],
)
def test_licence_expressions(licence: str, refused: list[str]) -> None:
    sys.path.insert(0, str(ROOT))
    from hack import licences

    assert licences.refused(licence) == refused


EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_parse_and_keep_every_field(path: Path) -> None:
    """The API server's verdict is in tests/charts/test_server.py; this one finds a misspelt field without it."""
    from elink_operator.api import ElinkRestore, ElinkServer, ElinkTenant
    from pydantic import BaseModel

    (body,) = list(yaml.safe_load_all(path.read_text()))
    models = {"ElinkServer": ElinkServer, "ElinkTenant": ElinkTenant, "ElinkRestore": ElinkRestore}
    model = models[body["kind"]].parse(body)

    def known(given: object, parsed: object, where: str) -> None:
        if isinstance(parsed, BaseModel) and isinstance(given, dict):
            aliases = {info.alias or name: name for name, info in type(parsed).model_fields.items()}
            for key, value in given.items():
                assert key in aliases, f"{where}.{key} is not a field"
                known(value, getattr(parsed, aliases[key]), f"{where}.{key}")

    known(body["spec"], model.spec, "spec")


def test_examples_that_make_up_applies_fit_a_laptop() -> None:
    requested = 0
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        size = spec.get("size", spec)
        for part in ("app", "worker", "database"):
            if part in size:
                cpu = size[part]["resources"]["requests"]["cpu"]
                requested += int(cpu.removesuffix("m")) * size[part].get("replicas", 1)
    assert 0 < requested <= 400, f"{requested} milli-CPUs"
