"""Roles: named sets of permissions that accounts have."""
