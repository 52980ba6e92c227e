"""Tests of the native cluster's NetworkPolicy agent."""
