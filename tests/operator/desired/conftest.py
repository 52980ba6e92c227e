"""Golden files of the builders; see `--update-golden` in tests/conftest.py."""

from pathlib import Path
from typing import Any

import pytest
import yaml

GOLDEN = Path(__file__).parent / "golden"


class _Plain(yaml.SafeDumper):
    """No anchors: a golden file is read by people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class Golden:
    """Compares objects with a checked-in YAML file."""

    def __init__(self, update: bool) -> None:
        self._update = update

    def check(self, name: str, objects: list[dict[str, Any]]) -> None:
        """Fail with a readable difference, or write the file when asked to."""
        path = GOLDEN / f"{name}.yaml"
        text = yaml.dump_all(objects, Dumper=_Plain, sort_keys=True, allow_unicode=True, width=120)
        if self._update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run with --update-golden and review it"
        assert list(yaml.safe_load_all(text)) == list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.config.getoption("--update-golden"))
