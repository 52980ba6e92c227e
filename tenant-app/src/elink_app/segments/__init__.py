"""Saved questions to the address book."""
