"""hack/beside: commands at the same time, each line with its command's name, and no failure is lost."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "hack" / "beside"


def run(*arguments: str) -> tuple[int, list[str]]:
    done = subprocess.run([str(BESIDE), *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines()


def test_lines_have_names_and_one_failure_is_enough(tmp_path: Path) -> None:
    # Each waits for the other: they can only end when both run.
    meet = "touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.05; done; echo {1} >&2; exit {3}"
    one, other = meet.format(tmp_path, "a", "b", 3), meet.format(tmp_path, "b", "a", 0)
    code, lines = run(f"one={one}", f"other={other}")
    assert code == 1
    assert {"one | a", "other | b"} <= set(lines)
    ended = [line for line in lines if "ended with" in line]
    assert [re.sub(r"\d+ s", "N s", line) for line in sorted(ended)] == [
        "one | ended with 3 after N s", "other | ended with 0 after N s",
    ]  # fmt: skip
    assert lines.index("one | a") < lines.index(next(line for line in ended if line.startswith("one")))


def test_all_fine_is_fine() -> None:
    code, lines = run("a=true", "b=echo x=y")
    assert code == 0
    assert "b | x=y" in lines


@pytest.mark.parametrize("arguments", [(), ("true",), ("a=true", "--help"), ("a=true", "a=true")])
def test_anything_else_is_refused(arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_what_it_is_asked_to_end_ends_in_its_own_way() -> None:
    tidy = "trap 'echo tidied; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([str(BESIDE), f"a={tidy}", "b=exit 0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while "a | ready" not in lines[-1]:
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        lines += process.stdout.read().splitlines()
    assert process.returncode == 1
    assert "a | tidied" in lines
    assert any(line.startswith("a | ended with 7") for line in lines)
