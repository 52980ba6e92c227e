"""Fixtures for every test."""

from tests.support.apiserver import apiserver

__all__ = ["apiserver"]
