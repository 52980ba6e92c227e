"""The two ceremonies of WebAuthn: what a browser is asked, and whether its answer is right. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import webauthn
from webauthn.helpers import (
    options_to_json,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

# Time for somebody who has to fetch the phone; the challenge lives as long.
WITHIN = timedelta(minutes=5)
_MILLISECONDS = int(WITHIN.total_seconds() * 1000)
# Far above what devices send.
_LONGEST_ANSWER = 32_768
_LONGEST_CREDENTIAL_ID = 1023
_TRANSPORTS = {one.value for one in AuthenticatorTransport}


class NotProved(Exception):
    """The answer is malformed, or not what was asked for."""


@dataclass(frozen=True)
class RelyingParty:
    """For whom a passkey is: the tenant's host, the origin of its pages, a name that devices show."""

    host: str
    origin: str
    name: str


@dataclass(frozen=True)
class Known:
    """What is kept of a passkey and needed here."""

    credential_id: bytes
    transports: Sequence[str] = ()


@dataclass(frozen=True)
class NewPasskey:
    """A credential that was just made."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: list[str]


@dataclass(frozen=True)
class Answer:
    """An answer of a browser, taken apart and not checked yet. The challenge is what it claims to answer."""

    challenge: bytes
    credential: RegistrationCredential | AuthenticationCredential

    @property
    def credential_id(self) -> bytes:
        """Which passkey it claims to come from."""
        return self.credential.raw_id

    @property
    def user_handle(self) -> bytes | None:
        """The account as the device knows it; for a log-in."""
        return self.credential.response.user_handle if isinstance(self.credential, AuthenticationCredential) else None


def _descriptors(known: Sequence[Known]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            one.credential_id,
            transports=[AuthenticatorTransport(name) for name in one.transports if name in _TRANSPORTS],
        )
        for one in known
    ]


def ask_for_new(
    party: RelyingParty, challenge: bytes, user_handle: bytes, email: str, name: str, known: Sequence[Known]
) -> str:
    """The options (JSON) of `navigator.credentials.create`; `known` are the passkeys that the account has already."""
    return options_to_json(
        webauthn.generate_registration_options(
            rp_id=party.host,
            rp_name=party.name,
            user_id=user_handle,
            user_name=email,
            user_display_name=name or email,
            challenge=challenge,
            timeout=_MILLISECONDS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=_descriptors(known),
        )
    )


def ask_for_proof(party: RelyingParty, challenge: bytes, allowed: Sequence[Known]) -> str:
    """The options (JSON) of `navigator.credentials.get`; without `allowed` the device offers what it has."""
    return options_to_json(
        webauthn.generate_authentication_options(
            rp_id=party.host,
            challenge=challenge,
            timeout=_MILLISECONDS,
            allow_credentials=_descriptors(allowed),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def read_new(text: str) -> Answer:
    """Take the answer to `ask_for_new` apart; raises NotProved."""
    return _read(parse_registration_credential_json, text)


def read_proof(text: str) -> Answer:
    """Take the answer to `ask_for_proof` apart; raises NotProved."""
    return _read(parse_authentication_credential_json, text)


def _read(parse: Callable[[str], RegistrationCredential | AuthenticationCredential], text: str) -> Answer:
    try:
        credential = parse(_short(text))
        return Answer(_challenge_of(credential.response.client_data_json), credential)
    # A stranger's bytes: the library's parsers let errors of many kinds through.
    except Exception as error:
        raise NotProved from error


def check_new(answer: Answer, party: RelyingParty) -> NewPasskey:
    """The new credential when all about it is right; raises NotProved. The challenge is the caller's to check."""
    try:
        assert isinstance(answer.credential, RegistrationCredential)  # noqa: S101 - for the type checker
        found = webauthn.verify_registration_response(
            credential=answer.credential,
            expected_challenge=answer.challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except Exception as error:
        raise NotProved from error
    if len(found.credential_id) > _LONGEST_CREDENTIAL_ID:
        raise NotProved
    transports = [one.value for one in answer.credential.response.transports or []]
    return NewPasskey(found.credential_id, found.credential_public_key, found.sign_count, sorted(set(transports)))


def check_proof(answer: Answer, party: RelyingParty, public_key: bytes) -> int:
    """The device's counter when it signed with this key for this host; raises NotProved.

    The challenge is the caller's to check. So is the counter, which only means something under a right signature.
    """
    try:
        assert isinstance(answer.credential, AuthenticationCredential)  # noqa: S101 - for the type checker
        found = webauthn.verify_authentication_response(
            credential=answer.credential,
            expected_challenge=answer.challenge,
            expected_rp_id=party.host,
            expected_origin=party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:
        raise NotProved from error
    return found.new_sign_count


def is_copied(kept: int, shown: int) -> bool:
    """True when a counter stands still or runs back: two devices hold the key. Devices without counter show 0."""
    return (kept > 0 or shown > 0) and shown <= kept


def _challenge_of(client_data: bytes) -> bytes:
    found = parse_client_data_json(client_data)
    if found.cross_origin:
        raise ValueError("asked from a frame of another site")
    return found.challenge


def _short(text: str) -> str:
    if len(text) > _LONGEST_ANSWER:
        raise ValueError("too long")
    return text
