"""Notices of the operator, and who has seen them."""
