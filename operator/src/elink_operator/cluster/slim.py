"""What is left out of cached objects: noise that nobody compares, and the values of Secrets."""

import hashlib
from base64 import b64encode
from typing import Final

from elink_operator.cluster.kinds import SECRET, Kind, Obj

_NOISY_ANNOTATIONS: Final = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
)

FINGERPRINTS: Final = "dataHashes"
"""Where a slim Secret keeps sha256 of each value, instead of `data`."""


def slim(kind: Kind, obj: Obj) -> Obj:
    """The object as it is cached: without managedFields and copies of itself; a Secret without its values.

    A new dict at the levels that change; the argument is not touched.
    """
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations and any(name in annotations for name in _NOISY_ANNOTATIONS):
        metadata["annotations"] = {k: v for k, v in annotations.items() if k not in _NOISY_ANNOTATIONS}
    result = {**obj, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
    return without_values(result) if kind == SECRET else result


def with_encoded_values(secret: Obj) -> Obj:
    """A Secret whose `stringData` is moved into `data`, as the server stores it."""
    if not secret.get("stringData"):
        return secret
    encoded = {key: b64encode(value.encode()).decode() for key, value in secret["stringData"].items()}
    result = {key: value for key, value in secret.items() if key != "stringData"}
    result["data"] = {**secret.get("data", {}), **encoded}
    return result


def without_values(secret: Obj) -> Obj:
    """A Secret with `dataHashes` (sha256 hex of each base64 value) in place of `data` and `stringData`."""
    secret = with_encoded_values(secret)
    result = {key: value for key, value in secret.items() if key != "data"}
    values = secret.get("data") or {}
    result[FINGERPRINTS] = {key: hashlib.sha256(value.encode()).hexdigest() for key, value in values.items()}
    return result
