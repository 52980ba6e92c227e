"""Logs are JSON lines in JST, and hold no secret even when something breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import elink_operator

_SCRIPT = """
import structlog
from elink_operator import logs
logs.configure()
def connect(password):
    raise ValueError("refused")
try:
    connect("hidden-" + "word")
except ValueError:
    structlog.get_logger().exception("failed", password="hidden-word", tenant="あおぞら")
"""


def test_a_traceback_shows_no_variables_and_times_are_jst() -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(elink_operator.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, env=environ)
    line = json.loads(done.stderr)
    assert line["exception"][0]["exc_value"] == "refused"
    assert line["time"].endswith("+09:00")
    assert line["tenant"] == "あおぞら"
    assert line["password"] == "[redacted]"
    assert "hidden-word" not in done.stderr
