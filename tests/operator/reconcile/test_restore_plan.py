"""The order of a restore's steps: forwards, and back from each of them."""

from __future__ import annotations

import pytest
from elink_operator.api.restore import HELD, Mode, RestoreStep
from elink_operator.reconcile.restore_plan import BACK, FORWARD, can_turn_back, first_step, next_step, way_back

STEPS = [(mode, step) for mode, plan in FORWARD.items() for step in plan]


def walk(mode: Mode, step: RestoreStep, *, failed: bool) -> list[str]:
    seen = []
    while step is not RestoreStep.DONE:
        seen.append(step.value)
        step = next_step(mode, step, failed=failed)
    return seen


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.DRILL, "Restore RemoveScratch"),
        (
            Mode.IN_PLACE,
            "SafetyBackup Maintenance Restore SwitchFiles SwitchDatabase Verify KeepOld RemoveOld",
        ),
        (Mode.AS_NEW, "MakeTenant Maintenance Restore SwitchFiles SwitchDatabase Verify RemoveOld"),
        (
            Mode.MOVE,
            "PrepareTarget Maintenance SafetyBackup Restore SwitchFiles SwitchDatabase MoveHome Verify KeepOld "
            "RemoveSource",
        ),
    ],
)
def test_forwards(mode: Mode, expected: str) -> None:
    assert walk(mode, first_step(mode), failed=False) == expected.split()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("SafetyBackup", ""),
        ("MakeTenant", ""),
        ("Maintenance", "RemoveScratch"),
        ("Restore", "RemoveScratch"),
        ("SwitchFiles", "ReturnFiles RemoveScratch"),
        ("SwitchDatabase", "ReturnDatabase ReturnFiles RemoveScratch"),
    ],
)
def test_what_was_done_last_is_undone_first(step: str, expected: str) -> None:
    mode = Mode.AS_NEW if step == "MakeTenant" else Mode.IN_PLACE
    assert can_turn_back(mode, RestoreStep(step))
    assert walk(mode, way_back(mode, RestoreStep(step)), failed=True) == expected.split()


@pytest.mark.parametrize("step", FORWARD[Mode.MOVE][:6])
def test_until_its_switch_a_move_is_undone_at_the_target_alone(step: RestoreStep) -> None:
    assert can_turn_back(Mode.MOVE, step)
    assert walk(Mode.MOVE, way_back(Mode.MOVE, step), failed=True) == ["RemoveTarget"]


@pytest.mark.parametrize(("mode", "step"), STEPS)
def test_after_the_switch_nothing_turns_back(mode: Mode, step: RestoreStep) -> None:
    plan = FORWARD[mode]
    done = RestoreStep.SWITCH_DATABASE in plan and plan.index(step) > plan.index(RestoreStep.SWITCH_DATABASE)
    ends_a_drill = step is RestoreStep.REMOVE_SCRATCH
    assert can_turn_back(mode, step) is not (done or ends_a_drill)


def test_the_way_back_never_turns() -> None:
    assert not any(can_turn_back(mode, step) for mode in Mode for step in BACK)


def test_out_of_service_exactly_while_the_data_may_be_exchanged() -> None:
    forwards = [step for step in FORWARD[Mode.IN_PLACE] if step in HELD]
    assert [step.value for step in forwards] == ["Maintenance", "Restore", "SwitchFiles", "SwitchDatabase"]
    assert [step.value for step in BACK if step in HELD] == ["ReturnDatabase", "ReturnFiles"]
