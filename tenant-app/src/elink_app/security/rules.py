"""What the master demands of everybody's log-in. Pure."""

from __future__ import annotations

from enum import StrEnum


class FactorRule(StrEnum):
    """`any`: one-time codes or a passkey besides the password; `passkeys`: a passkey, which no forged site can take."""

    FREE = "free"
    ANY = "any"
    PASSKEYS = "passkeys"

    @classmethod
    def of(cls, *, second_factor: bool, passkeys_only: bool) -> FactorRule:
        """The rule behind the two boxes of page, API and table. The narrower one holds without the wider one."""
        if passkeys_only:
            return cls.PASSKEYS
        return cls.ANY if second_factor else cls.FREE

    @property
    def boxes(self) -> dict[str, bool]:
        """The same as page, API and table have it."""
        return {"second_factor_for_all": self is not self.FREE, "passkeys_only": self is self.PASSKEYS}
