"""Errors of the domain. The web layer turns each into a page or into RFC 9457 problem JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elink_app.messages import N_, Message

PASSKEYS_ONLY_NOW = N_("Your organisation accepts passkeys only now. Log in again with your passkey.")


@dataclass(frozen=True)
class FieldError:
    """One wrong value: `field` is the path in the input (`("emails", 0)`), `code` a stable word for programs."""

    field: tuple[str | int, ...]
    code: str
    message: Message


class AppError(Exception):
    """Base: `status` (HTTP), `code` (stable, ends the type of the problem), a title and a sentence that helps."""

    status = 500
    code = "internal-error"
    title = N_("Something went wrong")

    def __init__(self, detail: Message | None = None, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(self.code)
        self.detail = detail or Message(N_("The request could not be handled. Please try again in a little while."))
        self.headers = dict(headers or {})


class NotFound(AppError):
    """There is no such thing, or it may not be seen: the caller cannot tell which."""

    status = 404
    code = "not-found"
    title = N_("Page not found")

    def __init__(self) -> None:
        super().__init__(Message(N_("There is nothing at this address. It may have been deleted.")))


class Unauthenticated(AppError):
    """No valid session or token came with the request."""

    status = 401
    code = "unauthenticated"
    title = N_("Please log in")

    def __init__(self, detail: Message | None = None) -> None:
        super().__init__(
            detail or Message(N_("You are not logged in, or your session has ended. Log in and try again.")),
            headers={"WWW-Authenticate": 'Session realm="elink"'},
        )

    @classmethod
    def by_passkey_rule(cls) -> Unauthenticated:
        """The master accepts passkeys only, and this session was opened without the account's."""
        return cls(Message(PASSKEYS_ONLY_NOW))


class Forbidden(AppError):
    """The account lacks the permission."""

    status = 403
    code = "forbidden"
    title = N_("Not allowed")

    def __init__(self) -> None:
        super().__init__(Message(N_("Your account may not do this. Ask the master account for the permission.")))


class ActFirst(AppError):
    """The account must do something before it may go on; `location` is the page for it."""

    status = 403
    code = "account-action-required"
    title = N_("One step first")

    def __init__(self, detail: Message, location: str) -> None:
        super().__init__(detail)
        self.location = location

    @classmethod
    def by_password(cls) -> ActFirst:
        """A new password is due."""
        return cls(Message(N_("Choose a new password before you go on.")), "/account?notice=password-due")

    @classmethod
    def by_second_factor(cls) -> ActFirst:
        """The master demands a second factor."""
        return cls(
            Message(N_("Your organisation asks for a second factor. Set it up before you go on.")),
            "/account/second-factor",
        )


class UsedBySegments(AppError):
    """Segments name it. Without it they would hold other addresses, and nobody would be told.

    `names`: theirs; empty for one that may not be named. Subclasses say in `advice` what to take out of them.
    """

    status = 409
    advice = ""

    def __init__(self, names: Sequence[str]) -> None:
        shown = [name for name in names if name] or ["…"]
        super().__init__(Message(self.advice, {"names": ", ".join(shown)}))


class SentBefore(AppError):
    """The same form was sent before and did its work; `location` is where that led."""

    status = 409
    code = "sent-before"

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location


class CsrfRefused(AppError):
    """The request does not prove that it came from a page of this site."""

    status = 403
    code = "csrf-refused"
    title = N_("The form could not be accepted")

    def __init__(self) -> None:
        super().__init__(
            Message(
                N_(
                    "This request did not come from a current page of this site. "
                    "Open the page again and repeat what you did."
                )
            )
        )


class InvalidInput(AppError):
    """Values that were refused, field by field; nothing was changed."""

    status = 422
    code = "invalid-input"
    title = N_("Some entries need correcting")

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(Message(N_("Correct the marked entries and send again. Nothing has been saved yet.")))
        self.errors = list(errors)


class LimitReached(AppError):
    """The plan's number of addresses is used up."""

    status = 409
    code = "address-limit-reached"
    title = N_("The address limit has been reached")

    def __init__(self, limit: int) -> None:
        super().__init__(
            Message(
                N_(
                    "Your plan holds up to %(limit)d addresses and all are in use. "
                    "Delete addresses that are no longer needed, or ask your provider for a larger plan."
                ),
                {"limit": limit},
            )
        )


class EditConflict(AppError):
    """Somebody else saved the same record in between."""

    status = 409
    code = "edit-conflict"
    title = N_("Somebody else changed this record")

    def __init__(self, detail: Message | None = None) -> None:
        super().__init__(
            detail
            or Message(
                N_(
                    "The record was saved by somebody else after you opened it. "
                    "Your entries are still below: compare them with the saved record, then save again."
                )
            )
        )


class TooManyAttempts(AppError):
    """Log-in attempts are held back for `retry_after` seconds."""

    status = 429
    code = "too-many-attempts"
    title = N_("Too many attempts")

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(
            Message(
                N_("There were too many failed attempts. Please try again in %(seconds)d seconds."),
                {"seconds": retry_after},
            ),
            headers={"Retry-After": str(retry_after)},
        )


class Unavailable(AppError):
    """A part that is needed does not answer at the moment; the same request may work soon."""

    status = 503
    code = "temporarily-unavailable"
    title = N_("Temporarily unavailable")

    def __init__(self, retry_after: int = 5) -> None:
        super().__init__(
            Message(N_("The service cannot answer at the moment. Please try again in a little while.")),
            headers={"Retry-After": str(retry_after)},
        )
