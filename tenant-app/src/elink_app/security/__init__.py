"""Proofs of identity beyond the log-in form: one-time links, second factor, rules, transfer of the master."""
