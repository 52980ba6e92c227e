"""The question before something is destroyed: what goes with it, whether it comes back, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from elink_app.accounts.permissions import Principal
from elink_app.errors import AppError
from elink_app.messages import N_, Message
from elink_app.web import pages

FINAL = Message(N_("This is final: it cannot be undone."))


@dataclass(frozen=True)
class Deletion:
    """What is asked. The form is sent to the address of the page itself; `back` is where nothing is deleted.

    `refused`: why it cannot be done now. `first`: addresses and texts of what to look at then, below `advice` in place
    of the refusal's own sentence.
    """

    question: Message
    back: str
    points: Sequence[Message]
    refused: AppError | None = None
    advice: Message | None = None
    first: Sequence[tuple[str, str]] = ()


def ask(request: Request, principal: Principal, deletion: Deletion, *, status: int = 200) -> Response:
    """The page with the question."""
    return pages.render(request, "delete.html", principal=principal, status=status, asked=deletion)


def until_erased(undo_window: timedelta) -> Message:
    """What is hidden first and erased later."""
    return Message(
        N_(
            "The field is hidden at once. For %(days)d days it can be brought back with all entries, then it is erased."
        ),
        {"days": undo_window.days},
    )


def shown(count: int) -> str:
    """A number in a sentence; both languages write it so."""
    return f"{count:,}"
