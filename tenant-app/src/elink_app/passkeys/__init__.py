"""Passkeys (WebAuthn): a second factor, and a log-in without password."""
