"""Fixtures for every test."""

from tests.support.apiserver import apiserver
from tests.support.postgres import own_postgres, postgres

__all__ = ["apiserver", "own_postgres", "postgres"]
