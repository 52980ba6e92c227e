"""The order of a restore's steps, forwards and back. Pure."""

from typing import Final

from elink_operator.api.restore import Mode
from elink_operator.api.restore import RestoreStep as Step

FORWARD: Final[dict[Mode, tuple[Step, ...]]] = {
    Mode.DRILL: (Step.RESTORE, Step.REMOVE_SCRATCH),
    Mode.IN_PLACE: (
        Step.SAFETY_BACKUP,
        Step.MAINTENANCE,
        Step.RESTORE,
        Step.SWITCH_FILES,
        Step.SWITCH_DATABASE,
        Step.VERIFY,
        Step.KEEP_OLD,
        Step.REMOVE_OLD,
    ),
    Mode.AS_NEW: (
        Step.MAKE_TENANT,
        Step.MAINTENANCE,
        Step.RESTORE,
        Step.SWITCH_FILES,
        Step.SWITCH_DATABASE,
        Step.VERIFY,
        Step.REMOVE_OLD,
    ),
    Mode.MOVE: (
        Step.PREPARE_TARGET,
        Step.MAINTENANCE,
        Step.SAFETY_BACKUP,
        Step.RESTORE,
        Step.SWITCH_FILES,
        Step.SWITCH_DATABASE,
        Step.MOVE_HOME,
        Step.VERIFY,
        Step.KEEP_OLD,
        Step.REMOVE_SOURCE,
    ),
}
BACK: Final = (Step.RETURN_DATABASE, Step.RETURN_FILES, Step.REMOVE_SCRATCH)
"""What is undone, the last thing that was done first."""
BACK_FROM_MOVE: Final = (Step.REMOVE_TARGET,)
"""The source was not touched."""

AFTER_SUCCESS: Final = frozenset({Step.KEEP_OLD, Step.REMOVE_OLD, Step.REMOVE_SOURCE})
"""The tenant works with the restored data; what was replaced is kept for a while, then removed."""

_NOTHING_MADE: Final = frozenset({Step.SAFETY_BACKUP, Step.MAKE_TENANT})
_MOVED: Final = frozenset({Step.MOVE_HOME, Step.VERIFY})
"""The new data is in its place: it is gone on with."""
_UNDO: Final = {Step.SWITCH_FILES: Step.RETURN_FILES, Step.SWITCH_DATABASE: Step.RETURN_DATABASE}


def first_step(mode: Mode) -> Step:
    """Where a restore begins."""
    return FORWARD[mode][0]


def next_step(mode: Mode, step: Step, *, failed: bool) -> Step:
    """What follows `step`; `failed`: the restore is on its way back."""
    plan = _back(mode) if failed else FORWARD[mode]
    place = plan.index(step) + 1
    return plan[place] if place < len(plan) else Step.DONE


def way_back(mode: Mode, step: Step) -> Step:
    """Where the way back begins when `step` failed (it may have been done in part)."""
    if mode is Mode.MOVE:
        return Step.REMOVE_TARGET
    return Step.DONE if step in _NOTHING_MADE else _UNDO.get(step, Step.REMOVE_SCRATCH)


def can_turn_back(mode: Mode, step: Step) -> bool:
    """Whether a failure (or a deletion) of `step` leads back: not when back already, nor after the switch."""
    if step is Step.REMOVE_SCRATCH or step in _back(mode):
        return False
    return step in FORWARD[mode] and step not in AFTER_SUCCESS and step not in _MOVED


def _back(mode: Mode) -> tuple[Step, ...]:
    return BACK_FROM_MOVE if mode is Mode.MOVE else BACK
