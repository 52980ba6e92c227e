#!/usr/bin/env -S python3 -I -S
"""CNI plugin, chained after `ptp`: a pod starts when the rules for its address are loaded, not a second later.

The address of a new pod shows up in the API only after its containers started. This plugin tells the agent at once and
waits until the rules are in the kernel. It is one file on purpose: the container runtime runs it alone, by its path.

Configuration: `{"type": "elink-netpol", "socket": "<the agent's --cni-socket>"}`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"]
# Longer than the agent waits for the pod to show up in its watch, so that its answer says what is missing.
SECONDS = 8.0
TRY_AGAIN_LATER, BAD_CONFIGURATION = 11, 7


class PluginError(Exception):
    """What the runtime is told; `code` as in the CNI specification."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def add(config: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """Announce the pod and give the previous plugin's result, unchanged."""
    result: dict[str, Any] | None = config.get("prevResult")
    if result is None or not config.get("socket"):
        raise PluginError(BAD_CONFIGURATION, "elink-netpol has to follow another plugin and needs 'socket'")
    arguments = dict(item.split("=", 1) for item in environment.get("CNI_ARGS", "").split(";") if "=" in item)
    message = {
        "namespace": arguments.get("K8S_POD_NAMESPACE", ""),
        "name": arguments.get("K8S_POD_NAME", ""),
        "uid": arguments.get("K8S_POD_UID", ""),
        "addresses": [item["address"].split("/")[0] for item in result.get("ips") or ()],
    }
    if message["name"] and message["addresses"]:
        _announce(config["socket"], message)
    return result


def _announce(path: str, message: dict[str, Any]) -> None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(path)
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = json.loads(connection.makefile("rb").readline() or b"{}")
    except (OSError, ValueError) as error:
        raise PluginError(TRY_AGAIN_LATER, f"the NetworkPolicy agent does not answer at {path}: {error}") from error
    if not answer.get("loaded"):
        raise PluginError(TRY_AGAIN_LATER, f"the NetworkPolicy agent: {answer.get('error', 'closed the connection')}")


def main() -> int:
    command = os.environ.get("CNI_COMMAND", "")
    if command == "VERSION":
        print(json.dumps({"cniVersion": VERSIONS[-1], "supportedVersions": VERSIONS}))
        return 0
    config: dict[str, Any] = json.load(sys.stdin)
    if command != "ADD":
        # DEL and CHECK: the rules follow the pod's object, nothing is kept here.
        return 0
    try:
        print(json.dumps(add(config, dict(os.environ))))
    except PluginError as error:
        version = config.get("cniVersion", VERSIONS[0])
        print(json.dumps({"cniVersion": version, "code": error.code, "msg": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
