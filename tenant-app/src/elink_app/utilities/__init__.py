"""Utility programs: one change to many addresses, tried first, written into a log, and undone when it was a mistake."""
