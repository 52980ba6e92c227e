"""Refusals that only deliveries know."""

from __future__ import annotations

from elink_app.errors import AppError
from elink_app.messages import N_, Message


class WrongState(AppError):
    """The delivery is not in a state in which this can be done; somebody else may have been faster."""

    status = 409
    code = "delivery-state"
    title = N_("Not possible in this state")

    def __init__(self) -> None:
        super().__init__(
            Message(N_("The delivery has moved on in the meantime. Open it again to see what can be done now."))
        )


class OwnApproval(AppError):
    """Whoever wrote or changed the content may not approve it."""

    status = 403
    code = "own-approval"
    title = N_("Somebody else has to approve this")

    def __init__(self) -> None:
        super().__init__(Message(N_("You wrote or changed this delivery. Ask somebody else to read and approve it.")))


class ContentChanged(AppError):
    """What is there now is not what was seen or approved."""

    status = 409
    code = "content-changed"
    title = N_("The content has changed")

    def __init__(self) -> None:
        super().__init__(
            Message(N_("The content is not the one that you saw, or that was approved. Read it again and decide anew."))
        )


class FilesDeleted(AppError):
    """Its mails cannot be made again."""

    status = 409
    code = "attachments-deleted"
    title = N_("The files were deleted")

    def __init__(self) -> None:
        super().__init__(
            Message(
                N_(
                    "Files that these mails had were deleted after sending, and nothing is sent without them. Begin "
                    "another delivery like this one and attach them again."
                )
            )
        )


class RestoredDelivery(AppError):
    """It came back with a restored database, and nobody has said yet that some of its mails may have left before."""

    status = 409
    code = "delivery-restored"
    title = N_("Stopped because the data was restored")

    def __init__(self) -> None:
        super().__init__(
            Message(
                N_(
                    "Mails that left after the backup was made are not known here: whoever got one would get it again. "
                    "Resume only if you accept that."
                )
            )
        )


class TooManyTestMails(AppError):
    """Test mails go to anybody's address, so there are few of them."""

    status = 429
    code = "too-many-test-mails"
    title = N_("Too many test mails")

    def __init__(self) -> None:
        super().__init__(
            Message(N_("Many test mails were sent from here. Send the next one in an hour.")),
            headers={"Retry-After": "3600"},
        )
