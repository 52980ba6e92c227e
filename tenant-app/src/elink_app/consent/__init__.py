"""Whom one may write to: proofs of consent, and the list of who gets no mail. Kept by e-mail, not by address row."""
