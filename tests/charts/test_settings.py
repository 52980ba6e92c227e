"""The chart and the operator's settings name the same things: every variable exists, every setting can be set."""

from __future__ import annotations

import json
import re

from elink_operator.settings import Settings

from tests.charts import helm
from tests.charts.test_render import values

NOT_IN_THE_CHART = {
    "kubeconfig": "for development: the pod has its service account",
}


def environment(chart_values: helm.Obj | None = None) -> dict[str, str]:
    pod = dict(helm.pods(helm.template(chart_values)))["elink-operator"]
    return {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}


def tuning_keys() -> set[str]:
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    return set(schema["properties"]["operator"]["properties"]["tuning"]["properties"])


def snake(camel: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", camel).lower()


def test_every_variable_is_a_setting() -> None:
    unknown = {name for name in environment() if name.removeprefix("ELINK_").lower() not in Settings.model_fields}
    assert unknown == set()


def test_every_setting_can_be_set() -> None:
    by_value = {name.removeprefix("ELINK_").lower() for name in environment()}
    by_tuning = {snake(key) for key in tuning_keys()}
    assert by_value & by_tuning == set()
    assert set(Settings.model_fields) - by_value - by_tuning == set(NOT_IN_THE_CHART)
    assert by_tuning <= set(Settings.model_fields)


def test_tuning_has_the_bounds_of_the_settings() -> None:
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    settings = Settings.model_json_schema()["properties"]
    for key, chart in schema["properties"]["operator"]["properties"]["tuning"]["properties"].items():
        own = {k: v for k, v in settings[snake(key)].items() if k in {"type", "minimum", "maximum", "exclusiveMinimum"}}
        assert chart == own, key


def test_the_operator_reads_what_the_chart_writes() -> None:
    read = Settings(**{k.removeprefix("ELINK_").lower(): v for k, v in environment(values("full")).items()})
    assert read.base_domain == "elink.example.jp"
    assert read.regions == {"jp-east", "jp-west"}
    assert read.app_image_at("0.1.0") == "registry.example.jp/elink/tenant-app:0.1.0"
    assert read.default_app_version == "1.10"
    assert read.postgres_image == "registry.example.jp/elink/postgres:17"
    assert read.workers == 1_000_000
    assert read.retry_base_seconds == 0.5
    assert read.webhook_enabled is True


def test_defaults_of_the_chart_are_the_defaults_of_the_settings() -> None:
    read = Settings(**{k.removeprefix("ELINK_").lower(): v for k, v in environment().items()})
    differing = {n for n in Settings.model_fields if getattr(read, n) != Settings.model_fields[n].get_default()}
    assert differing == {"webhook_cert_dir"}
