"""When pods are replaced, and when they are resized where they run."""

import copy
from typing import Any

import pytest
from elink_operator.desired import rollout
from elink_operator.desired.deployment import build_web
from elink_operator.desired.quota import build_limit_range
from elink_operator.desired.statefulset import build_postgres

from tests.operator.api.builders import server
from tests.operator.desired.test_golden import server_inputs

SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
LARGE = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}


def web(resources: dict[str, Any] = SMALL, version: str = "0.1.0") -> dict[str, Any]:
    return build_web(server_inputs(server(app={"resources": resources}), version=version))


def settled(workload: dict[str, Any]) -> dict[str, Any]:
    """The workload as its controller would leave it."""
    live = copy.deepcopy(workload)
    live["metadata"]["generation"] = 5
    live["status"] = {"observedGeneration": 5, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    return live


def first() -> dict[str, Any]:
    return settled(rollout.plan_deployment(web(), None).workload)


def test_a_new_deployment_just_rolls() -> None:
    plan = rollout.plan_deployment(web(), None)
    assert plan.workload["spec"]["paused"] is False
    assert plan.resize is None


def test_nothing_changed_changes_nothing() -> None:
    plan = rollout.plan_deployment(web(), first())
    assert plan.workload == rollout.plan_deployment(web(), None).workload
    assert plan.resize is None


def test_only_resources_pauses_and_resizes_and_stays_so() -> None:
    plan = rollout.plan_deployment(web(LARGE), first())
    assert plan.workload["spec"]["paused"] is True
    assert plan.workload["spec"]["template"]["spec"]["containers"][0]["resources"] == LARGE
    assert plan.resize == {"web": LARGE}
    again = rollout.plan_deployment(web(LARGE), settled(plan.workload))
    assert again.workload == plan.workload
    assert again.resize == {"web": LARGE}


def test_a_real_change_rolls_and_ends_the_pause() -> None:
    paused = settled(rollout.plan_deployment(web(LARGE), first()).workload)
    plan = rollout.plan_deployment(web(LARGE, version="0.2.0"), paused)
    assert plan.workload["spec"]["paused"] is False
    assert plan.resize is None


def test_both_at_once_rolls() -> None:
    plan = rollout.plan_deployment(web(LARGE, version="0.2.0"), first())
    assert plan.workload["spec"]["paused"] is False
    assert plan.resize is None


def test_a_rolling_update_under_way_is_not_frozen() -> None:
    live = first()
    live["status"]["updatedReplicas"] = 1
    assert rollout.plan_deployment(web(LARGE), live).workload["spec"]["paused"] is False
    unseen = first()
    unseen["status"]["observedGeneration"] = 4
    assert rollout.plan_deployment(web(LARGE), unseen).workload["spec"]["paused"] is False


def test_a_resize_that_was_refused_rolls() -> None:
    plan = rollout.plan_deployment(web(LARGE), first(), in_place=False)
    assert plan.workload["spec"]["paused"] is False
    assert plan.resize is None
    # And does not fall back into the pause at the next look.
    assert rollout.plan_deployment(web(LARGE), settled(plan.workload)).workload == plan.workload


def test_a_pause_by_hand_is_drift() -> None:
    live = first()
    live["spec"]["paused"] = True
    assert rollout.plan_deployment(web(), live).workload["spec"]["paused"] is False


def pod(resources: dict[str, Any], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "annotations": annotations or {}},
        "spec": {"containers": [{"name": "web", "resources": resources}, {"name": "injected", "resources": {}}]},
    }


def test_only_containers_that_differ_are_resized_and_quantities_are_numbers() -> None:
    rewritten = {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "2Gi"}}
    assert rollout.needs_resize(pod(rewritten), {"web": LARGE}) == []
    assert rollout.needs_resize(pod(SMALL), {"web": LARGE}) == [{"name": "web", "resources": LARGE}]


def test_a_limit_that_is_no_longer_wanted_cannot_be_resized_away() -> None:
    requests = {"requests": SMALL["requests"]}
    assert rollout.keeps_a_limit(pod(SMALL), {"web": requests})
    assert rollout.keeps_a_limit(pod({"limits": {"cpu": "1", "memory": "1Gi"}}), {"web": LARGE})
    assert not rollout.keeps_a_limit(pod(SMALL), {"web": LARGE})
    # The API server gives a pod its limits as requests when it names none: that is how it was declared.
    filled_in = {"requests": {"memory": "256Mi"}, "limits": {"memory": "256Mi"}}
    assert rollout.needs_resize(pod(filled_in), {"web": {"limits": {"memory": "256Mi"}}}) == []


@pytest.mark.parametrize("part", ["app", "worker", "database"])
def test_no_memory_limit_is_invented_where_the_spec_names_none(part: str) -> None:
    def default(resources: dict[str, Any]) -> Any:
        sized: dict[str, Any] = {part: {"resources": resources}}
        made = build_limit_range(server_inputs(server(**sized)))
        return made["spec"]["limits"][0].get("default")

    assert default(SMALL) == {"memory": "256Mi"}
    assert default({"requests": {"memory": "2Gi"}}) is None
    assert default({"limits": {"cpu": "1"}}) is None


def test_postgres_restarts_for_another_image_but_not_for_another_size() -> None:
    def postgres(image: str, resources: dict[str, Any]) -> rollout.Rollout:
        return rollout.plan_statefulset(
            build_postgres(server_inputs(server(database={"resources": resources}), postgres_image=image)), None
        )

    running = postgres("postgres:1", SMALL)
    template = running.workload["spec"]["template"]
    live = {"metadata": {"annotations": template["metadata"]["annotations"]}, "spec": template["spec"]}
    assert not rollout.pod_is_outdated(live, postgres("postgres:1", LARGE).workload)
    assert rollout.pod_is_outdated(live, postgres("postgres:2", SMALL).workload)
    assert postgres("postgres:1", LARGE).resize == {"postgres": LARGE}


@pytest.mark.parametrize("field", ["metadata", "spec"])
def test_builders_output_is_not_changed(field: str) -> None:
    desired = web()
    before = copy.deepcopy(desired)
    rollout.plan_deployment(desired, None)
    assert desired[field] == before[field]


def another_release(workload: dict[str, Any]) -> dict[str, Any]:
    """What a newer operator would build from the same wishes."""
    newer = copy.deepcopy(workload)
    newer["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = 99
    return newer


def test_a_new_release_of_the_operator_restarts_nobody() -> None:
    live = first()
    live["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    plan = rollout.plan_deployment(another_release(web()), live)
    assert plan.held
    assert plan.workload["spec"]["template"] == live["spec"]["template"]
    assert (
        plan.workload["metadata"]["annotations"][rollout.TEMPLATE_HASH]
        == (live["metadata"]["annotations"][rollout.TEMPLATE_HASH])
    )
    again = rollout.plan_deployment(another_release(web()), settled(plan.workload))
    assert again.held
    assert again.workload == plan.workload


def test_but_it_resizes_scales_and_upgrades_as_before() -> None:
    resized = rollout.plan_deployment(another_release(web(LARGE)), first())
    assert resized.held
    assert resized.workload["spec"]["paused"] is True
    assert resized.resize == {"web": LARGE}
    assert resized.workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] == 10
    upgraded = rollout.plan_deployment(another_release(web(version="0.2.0")), first())
    assert not upgraded.held
    assert upgraded.workload["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] == 99


def test_the_update_is_taken_when_asked_for() -> None:
    asked = server(app={"resources": SMALL}, meta={"annotations": {"elink-lc.com/take-update": "today"}})
    plan = rollout.plan_deployment(another_release(build_web(server_inputs(asked))), first())
    assert not plan.held


def test_drift_of_the_template_is_not_taken_for_a_release() -> None:
    live = first()
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
    plan = rollout.plan_deployment(web(), live)
    assert not plan.held
    assert plan.workload["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":0.1.0")
