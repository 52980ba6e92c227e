"""What goes into and comes out of an account's own proofs, the rules for all and the master's place."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from elink_app.outbox.schemas import EXAMPLE as UNDELIVERED
from elink_app.outbox.schemas import UndeliveredMail
from elink_app.passkeys.schemas import EXAMPLE as PASSKEY
from elink_app.passkeys.schemas import PasskeyOutput

_EXAMPLE_PASSWORD = "いまのパスワードです"  # noqa: S105 - an example in the documentation

Password = Annotated[str, Field(max_length=1024)]


class Proof(BaseModel):
    """The caller's present password: asked for once more before something that matters."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"current_password": _EXAMPLE_PASSWORD}]}
    )  # fmt: skip

    current_password: Password


class PasswordInput(Proof):
    """A new password: at least 12 characters, not easy to guess, not one of the last five."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"current_password": _EXAMPLE_PASSWORD, "password": "朝はコーヒーを二杯 飲みます"}]
        }
    )

    password: Password


class FactorsOutput(BaseModel):
    """An account's second factors. One of them, or a recovery code, is asked for after the password."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"totp": True, "passkeys": [PASSKEY], "recovery_codes": 10}]}
    )

    totp: Annotated[bool, Field(description="One-time codes of an app are on")]
    passkeys: list[PasskeyOutput]
    recovery_codes: Annotated[int, Field(description="How many are left")]


class RecoveryCodesOutput(BaseModel):
    """Recovery codes, shown this once; each works once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"codes": ["abcd3-efgh4", "jkmn5-pqrs6"]}]})

    codes: list[str]


class SecurityRulesInput(BaseModel):
    """What the master demands of everybody."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"second_factor_for_all": True, "passkeys_only": False}]}
    )  # fmt: skip

    second_factor_for_all: Annotated[bool, Field(strict=True, description="One-time codes or a passkey")]
    passkeys_only: Annotated[
        bool,
        Field(strict=True, description="A passkey: codes, which a forged site can take, let nobody in who has one"),
    ] = False


class OfferInput(Proof):
    """To whom the master offers his place."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"to": 2, "current_password": _EXAMPLE_PASSWORD}]})

    to: Annotated[int, Field(ge=1, le=2**63 - 1, strict=True, description="Id of an active user")]


class OfferOutput(BaseModel):
    """The standing offer of the master's place."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "to": 2,
                    "email": "suzuki@example.co.jp",
                    "expires_at": "2026-04-04T09:00:00+09:00",
                    "undelivered": {**UNDELIVERED, "kind": "master-offer"},
                }
            ]
        }
    )

    to: int
    email: str
    expires_at: datetime
    undelivered: Annotated[
        UndeliveredMail | None,
        Field(description="The mail about it, if it was given up; the offer stands all the same"),
    ]
