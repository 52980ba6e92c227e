"""Addresses that seem to be the same, and their merging."""
