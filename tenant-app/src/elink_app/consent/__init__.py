"""Consent to e-mail, and e-mails that get none: kept by e-mail, so that both outlive an address."""
