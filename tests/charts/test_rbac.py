"""The operator's rights are what its code asks for: nothing missing, nothing more, and the page says the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from elink_operator.cluster import kinds
from elink_operator.cluster.kinds import (
    CHANGE,
    CRON_JOB,
    ERASURE,
    HTTP_ROUTE,
    JOB,
    LEASE,
    OURS,
    OWNED,
    SECRET,
    SERVER,
    Kind,
)  # fmt: skip

from tests.charts import helm
from tests.charts.helm import ROOT, Obj

SOURCE = ROOT / "operator" / "src" / "elink_operator"

VERBS = {
    "get": ("get",),
    "get_once": ("get",),
    "list": ("list",),
    "pages": ("list",),
    "watch": ("watch",),
    "apply": ("create", "patch"),
    "apply_if_changed": ("create", "patch"),
    "patch": ("patch",),
    "json_patch": ("patch",),
    "patch_status": ("patch",),
    "delete": ("delete",),
    "create": ("create",),
    "put_unfenced": ("update",),
}
RECEIVERS = {"client", "_client", "applier", "_applier"}
# Calls whose kind is a variable: which kinds it may be.
VARIABLE: dict[tuple[str, str], tuple[Kind, ...]] = {
    ("cluster/apply.py", "apply"): (*OWNED, SERVER),
    ("cluster/informer.py", "pages"): OWNED,
    ("cluster/informer.py", "watch"): OWNED,
    ("cluster/heal.py", "pages"): OURS,
    ("cluster/heal.py", "get"): OURS,
    ("records.py", "list"): (ERASURE, CHANGE),
    ("reconcile/erase_steps.py", "get"): (HTTP_ROUTE, CRON_JOB, SECRET),
    ("reconcile/erase_steps.py", "delete"): (HTTP_ROUTE, CRON_JOB, SECRET),
    ("reconcile/move_steps.py", "get"): (JOB, SECRET),
    ("reconcile/move_steps.py", "delete"): (JOB, SECRET),
    ("reconcile/status.py", "patch_status"): OURS,
    ("reconcile/status.py", "json_patch"): OURS,
    ("reconcile/server.py", "apply_if_changed"): OWNED,
}

Need = tuple[str, str, str]
"""(API group, resource or resource/subresource, verb)"""


def calls() -> list[tuple[str, str, str, str | None]]:
    """(file, method, source of the kind, subresource) of every request in the operator's code."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        file = str(path.relative_to(SOURCE))
        if file == "cluster/client.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            receiver = ast.unparse(node.func.value).rsplit(".", 1)[-1]
            if receiver not in RECEIVERS or node.func.attr not in {*VERBS, "event"}:
                continue
            subresource = next(
                (k.value.value for k in node.keywords if k.arg == "subresource" and isinstance(k.value, ast.Constant)),
                None,
            )
            found.append((file, node.func.attr, ast.unparse(node.args[0]), subresource))
    return found


def needs() -> set[Need]:
    """Every right that the code uses."""
    found: set[Need] = set()
    for file, method, source, subresource in calls():
        if method == "event":
            found.add(("", "events", "create"))
            continue
        constant = getattr(kinds, source.rsplit(".", 1)[-1], None)
        concerned = (constant,) if isinstance(constant, Kind) else VARIABLE[file, method]
        for kind in concerned:
            sub = "status" if method == "patch_status" else subresource
            resource = f"{kind.plural}/{sub}" if sub else kind.plural
            found |= {(kind.group, resource, verb) for verb in VERBS[method]}
    # kopf watches our own kinds.
    found |= {(kind.group, kind.plural, verb) for kind in OURS for verb in ("list", "watch")}
    return found


def granted(role: Obj) -> set[Need]:
    """Every right that the rules of a role give."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def roles() -> tuple[Obj, Obj]:
    objects = helm.template()
    return helm.only(objects, "ClusterRole", "elink-operator"), helm.only(objects, "Role", "elink-operator")


def test_every_variable_kind_is_explained_and_every_explanation_is_used() -> None:
    variable = {
        (file, method)
        for file, method, source, _ in calls()
        if method != "event" and not isinstance(getattr(kinds, source.rsplit(".", 1)[-1], None), Kind)
    }
    assert variable == set(VARIABLE)


def test_rights_are_exactly_what_the_code_asks_for() -> None:
    cluster, own = roles()
    leases = {need for need in needs() if need[1] == LEASE.plural}
    assert granted(cluster) == needs() - leases
    assert granted(own) == leases


def test_no_wildcard_and_no_way_up() -> None:
    for role in roles():
        for _, resource, verb in granted(role):
            assert "*" not in {resource, verb}
            assert verb not in {"escalate", "bind", "impersonate", "deletecollection"}
            assert resource not in {"pods/exec", "pods/log", "roles", "clusterroles", "rolebindings", "nodes"}


def test_the_lease_is_named() -> None:
    from elink_operator import naming

    for rule in roles()[1]["rules"]:
        assert rule["verbs"] == ["create"] or rule["resourceNames"] == [naming.LEASE]


def test_every_rule_says_why() -> None:
    lines = (helm.CHART / "templates" / "rbac.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith("- apiGroups:"):
            assert lines[number - 1].strip().startswith("# "), f"line {number + 1} has no reason above it"


def test_the_page_lists_the_same_rights() -> None:
    page = (ROOT / "docs" / "rbac.md").read_text()
    listed: set[Need] = set()
    for group, resources, verbs in re.findall(r"^\| (`[^`]*`|core) \| ([^|]+) \| ([a-z ]+) \| [^|]+ \|$", page, re.M):
        name = "" if group == "core" else group.strip("`")
        for resource in resources.split(", "):
            listed |= {(name, resource.split(",")[0].strip(), verb) for verb in verbs.split()}
    cluster, own = roles()
    assert {n for n in listed if not n[1].startswith("name ")} == granted(cluster) | granted(own)


def test_only_the_operator_has_rights() -> None:
    for obj in helm.template():
        for subject in obj.get("subjects", []):
            assert subject == {"kind": "ServiceAccount", "name": "elink-operator", "namespace": "elink-system"}


def test_the_fence_covers_every_kind_that_the_operator_writes() -> None:
    """Except our own kinds (people write those too), Events (in `default`) and the Lease (named in its Role)."""
    cluster, _ = roles()
    policy = helm.only(helm.template(), "ValidatingAdmissionPolicy", "elink-operator-fence")
    fenced = {
        (group, resource)
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    written = {(group, resource) for group, resource, verb in granted(cluster) if verb in {"create", "patch", "delete"}}
    free = {("", "events")} | {(g, r) for g, r in written if g == "elink-lc.com"}
    assert fenced == written - free


def test_source_is_found() -> None:
    assert Path(SOURCE / "cluster" / "client.py").exists()
    assert len(calls()) > 10
