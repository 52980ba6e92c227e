"""Fixtures and options for every test."""

import pytest
from hypothesis import HealthCheck, settings

from tests.support.apiserver import apiserver
from tests.support.postgres import own_postgres, postgres

__all__ = ["apiserver", "own_postgres", "postgres"]

# How long an example takes says something of the machine's load only.
settings.register_profile("elink", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("elink")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes golden files anew; review the diff like code."""
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing")
