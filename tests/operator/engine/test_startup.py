"""How kopf is set up, what is logged, and the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kopf
import pytest
from elink_operator import handlers
from elink_operator.__main__ import main
from elink_operator.handlers import startup
from elink_operator.settings import Settings

SOURCE = Path(__file__).resolve().parents[3] / "operator/src"


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_kopf_neither_writes_nor_limits() -> None:
    settings = kopf.OperatorSettings()
    startup.apply_settings(settings, Settings(webhook_enabled=False))
    assert settings.queueing.worker_limit is None
    assert settings.posting.enabled is False
    assert settings.peering.standalone is True
    assert settings.scanning.disabled is True
    assert settings.watching.chunk_size == Settings(webhook_enabled=False).list_page_size <= 100
    assert settings.queueing.idle_timeout < 1
    assert isinstance(settings.watching.server_timeout, int)
    assert isinstance(settings.persistence.diffbase_storage, startup.NullDiffBase)
    assert isinstance(settings.persistence.progress_storage, startup.NullProgress)
    pauses = list(settings.networking.error_backoffs)
    assert sum(pauses) > 30 * 60
    assert max(pauses) < 30


def test_only_events_and_admission_are_handled_by_kopf() -> None:
    registry = handlers.REGISTRY
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert not registry._indexing.get_all_handlers()


def test_the_running_operator_does_not_import_the_kubernetes_package() -> None:
    code = (
        "import sys; from elink_operator import __main__ as m; m._import_kopf(); import elink_operator.run;"
        "print('kubernetes' in sys.modules)"
    )
    assert run(code).stdout.strip() == "False"


def test_the_probe_imports_little() -> None:
    code = "import sys, elink_operator.isolation_probe, elink_operator.logs; print(*sys.modules)"
    loaded = set(run(code).stdout.split())
    assert not loaded & {"kopf", "pydantic", "asyncpg", "kubernetes", "prometheus_client"}


def test_wrong_settings_are_explained_without_a_traceback() -> None:
    code = "import sys; from elink_operator.__main__ import main; sys.exit(main(['run']))"
    done = run(code, ELINK_WORKERS="many")
    assert done.returncode == 2
    assert "workers" in done.stderr
    assert "Traceback" not in done.stderr


def test_webhooks_without_a_certificate_are_refused() -> None:
    code = "import sys; from elink_operator.__main__ import main; sys.exit(main(['run']))"
    done = run(code)
    assert done.returncode == 2
    assert "ELINK_WEBHOOK_CERT_DIR" in done.stderr


def test_outside_a_cluster_it_says_what_is_missing() -> None:
    code = "import sys; from elink_operator.__main__ import main; sys.exit(main(['run']))"
    done = run(code, ELINK_WEBHOOK_ENABLED="false")
    assert done.returncode == 2
    assert "ELINK_KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"
    for arguments in ([], ["--help"], ["unknown"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == (0 if "--help" in arguments else 2)


def lines(code: str) -> list[dict[str, Any]]:
    """What a fresh process logs on stderr."""
    prelude = (
        "import logging, structlog; from elink_operator import logs; logs.configure(); log = structlog.get_logger();"
    )
    done = run(prelude + code)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_logs_are_json_in_japan_time() -> None:
    first, second = lines(
        "log.info('hello', tenant='青空', count=3); logging.getLogger('kopf.x').warning('from %s', 'kopf')"
    )
    assert (first["event"], first["tenant"], first["count"], first["level"]) == ("hello", "青空", 3, "info")
    assert first["time"].endswith("+09:00")
    assert (second["event"], second["logger"]) == ("from kopf", "kopf.x")


def test_secrets_are_not_logged() -> None:
    (line,) = lines("log.warning('x', password='hunter2', setup_url='https://a/b', db_token='t')")
    assert (line["password"], line["setup_url"], line["db_token"]) == ("[redacted]",) * 3


def test_tracebacks_hold_no_local_values() -> None:
    (line,) = lines(
        "\ndef fail(password):\n    raise ValueError('boom')\n"
        "try:\n    fail('hunter2')\nexcept ValueError:\n    log.exception('failed')\n"
    )
    assert line["exception"][0]["exc_value"] == "boom"
    assert "hunter2" not in json.dumps(line)


def test_one_line_per_event_of_kopf_is_left_out() -> None:
    assert lines("logging.getLogger('kopf.objects').info('Handler succeeded')") == []
