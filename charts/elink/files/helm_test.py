"""`helm test`: the operator answers, and its webhook refuses a bad manifest. Needs no right in the cluster."""

import json
import os
import ssl
import sys
import urllib.request

SYSTEM = os.environ["SYSTEM"]


def check_operator() -> None:
    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(f"http://elink-operator.{SYSTEM}.svc:9000{path}", timeout=10) as answer:
            print(f"operator {path}: {answer.status}")


def check_webhook() -> None:
    """A deletion of an Active tenant without confirmation must be refused with a sentence."""
    tenant = {
        "apiVersion": "elink-lc.com/v1",
        "kind": "ElinkTenant",
        "metadata": {"name": "helm-test", "uid": "00000000-0000-0000-0000-000000000000"},
        "spec": {
            "plan": "Shared",
            "displayName": "helm test",
            "masterAccount": {"email": "helm-test@example.jp"},
            "state": "Active",
        },
    }
    kind = {"group": "elink-lc.com", "version": "v1", "kind": "ElinkTenant"}
    resource = {"group": "elink-lc.com", "version": "v1", "resource": "elinktenants"}
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "helm-test",
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": "helm-test",
            "operation": "DELETE",
            "userInfo": {"username": "helm-test", "uid": "helm-test", "groups": []},
            "object": None,
            "oldObject": tenant,
            "dryRun": True,
            "options": {},
        },
    }
    request = urllib.request.Request(
        f"https://elink-webhook.{SYSTEM}.svc/tenant",
        data=json.dumps(review).encode(),
        headers={"Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile="/etc/elink/webhook/ca.crt")
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        response = json.load(answer)["response"]
    if response["allowed"]:
        sys.exit("the webhook allowed the deletion of an Active tenant without confirmation")
    print("webhook refuses:", response["status"]["message"])


check_operator()
if os.environ["WEBHOOK"] == "true":
    check_webhook()
