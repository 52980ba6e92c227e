"""The typed calls to the API server."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final

import orjson
from yarl import URL

from elink_operator import naming
from elink_operator.cluster.connection import Connection
from elink_operator.cluster.errors import ClusterError, NotFound, from_response
from elink_operator.cluster.events import Recorder
from elink_operator.cluster.kinds import EVENT, Kind, Obj
from elink_operator.cluster.transport import JSON, Call, Limits, Transport
from elink_operator.metrics import Metrics

Objects = list[Obj]

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_JSON_PATCH: Final = "application/json-patch+json"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Client(Transport):
    """Typed calls; every one raises a ClusterError of `errors.py`. Retries, limits and fence: see Transport."""

    def __init__(
        self,
        connection: Connection,
        metrics: Metrics,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__(connection, metrics, limits)
        self._recorder = recorder or Recorder()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- reading -----------------------------------------------------------------------------------------

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Obj:
        """One object from the API server (not from the cache)."""
        return await self.send(self._call("get", kind, "GET", name, namespace))

    async def list(
        self, kind: Kind, *, namespace: str | None = None, label_selector: str | None = None
    ) -> tuple[Objects, str]:
        """All objects and the list's resourceVersion, read in pages."""
        items: Objects = []
        version = ""
        async for page, at in self.pages(kind, namespace=namespace, label_selector=label_selector):
            items += page
            version = at
        return items, version

    async def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[tuple[Objects, str], None]:
        """Pages of (objects, resourceVersion of the whole list); raises Gone when a page token expires.

        A page is emptied when the next one is asked for.
        """
        query = {"limit": str(self.limits.page)}
        if label_selector:
            query["labelSelector"] = label_selector
        while True:
            call = self._call("list", kind, "GET", None, namespace, query=query)
            if metadata_only:
                call.accept = _METADATA_LIST
            answer = await self.send(call)
            metadata = answer.get("metadata", {})
            page: Objects = answer.pop("items", None) or []
            yield page, metadata.get("resourceVersion", "")
            # A page of parsed objects takes megabytes: it must be gone before the next one is read.
            page.clear()
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(
        self, kind: Kind, *, version: str, label_selector: str | None, timeout: int, silence: float
    ) -> AsyncGenerator[Obj, None]:
        """Watch events (`{"type", "object"}`, bookmarks too) since `version`, until the server ends the stream.

        Raises Gone for 410, Unavailable when the stream breaks or is silent for `silence` seconds.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(timeout),
        }
        if label_selector:
            query["labelSelector"] = label_selector
        call = self._call("watch", kind, "GET", None, None, query=query)
        async with aclosing(self.stream(call, silence)) as stream:
            async for event in stream:
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise from_response(int(status.get("code", 500)), status, None, call.what)
                yield event

    # -- writing -----------------------------------------------------------------------------------------

    async def apply(self, kind: Kind, obj: Obj, *, manager: str = naming.FIELD_MANAGER) -> Obj:
        """Server-side apply of the fields in `obj` (forced, our field manager); creates what is missing."""
        metadata = obj["metadata"]
        call = self._call(
            "apply",
            kind,
            "PATCH",
            metadata["name"],
            metadata.get("namespace"),
            query={"fieldManager": manager, "force": "true"},
            body={**obj, "apiVersion": kind.api_version, "kind": kind.kind},
            content_type=_APPLY,
        )
        return await self.send(call)

    async def patch_status(
        self,
        kind: Kind,
        name: str,
        status: Obj,
        *,
        namespace: str | None = None,
        resource_version: str | None = None,
    ) -> Obj:
        """Merge patch of `.status`; Conflict when `resource_version` is given and is no longer the newest."""
        body: Obj = {"status": status}
        if resource_version is not None:
            body["metadata"] = {"resourceVersion": resource_version}
        return await self.patch(kind, name, body, namespace=namespace, subresource="status")

    async def patch(
        self,
        kind: Kind,
        name: str,
        body: Obj,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        strategic: bool = False,
    ) -> Obj:
        """JSON merge patch (or a strategic one: built-in kinds, lists merged by key), e.g. of `pods/resize`."""
        call = self._call(
            "patch",
            kind,
            "PATCH",
            name,
            namespace,
            subresource=subresource,
            query={"fieldManager": naming.FIELD_MANAGER},
            body=body,
            content_type=_STRATEGIC if strategic else _MERGE,
        )
        return await self.send(call)

    async def json_patch(
        self, kind: Kind, name: str, ops: Sequence[Mapping[str, Any]], *, namespace: str | None = None
    ) -> Obj:
        """JSON patch; put a `test` of `/metadata/resourceVersion` first. A failed test raises Conflict."""
        call = self._call(
            "patch",
            kind,
            "PATCH",
            name,
            namespace,
            query={"fieldManager": naming.FIELD_MANAGER},
            body=list(ops),
            content_type=_JSON_PATCH,
        )
        return await self.send(call)

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """Ask for deletion; an object that is not there is fine. Conflict when the name has another uid now."""
        options: Obj = {"propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self.send(self._call("delete", kind, "DELETE", name, namespace, body=options))
        except NotFound:
            return

    async def create(self, kind: Kind, obj: Obj, *, attempts: int = 1, fenced: bool = True) -> Obj:
        """POST; Conflict when it exists. Not repeated by default: a lost answer would look like a rival."""
        call = self._call("create", kind, "POST", None, obj["metadata"].get("namespace"), body=obj)
        call.attempts, call.fenced = attempts, fenced
        return await self.send(call)

    async def put_unfenced(self, kind: Kind, obj: Obj, *, timeout: float) -> Obj:
        """PUT with the object's resourceVersion, once, without fence and limiter: for the Lease only."""
        metadata = obj["metadata"]
        call = self._call("update", kind, "PUT", metadata["name"], metadata.get("namespace"), body=obj)
        call.attempts, call.fenced, call.timeout = 1, False, timeout
        return await self.send(call)

    async def get_once(self, kind: Kind, name: str, namespace: str | None, *, timeout: float) -> Obj:
        """GET without retries within `timeout` seconds."""
        call = self._call("get", kind, "GET", name, namespace)
        call.attempts, call.timeout = 1, timeout
        return await self.send(call)

    async def event(self, regarding: Obj, *, type_: str, reason: str, message: str) -> None:
        """Post an Event (`Normal` or `Warning`) unless the same one was posted in the last ten minutes.

        An Event is a courtesy: failing to post it is counted, never raised.
        """
        body = self._recorder.build(regarding, type_=type_, reason=reason, message=message)
        if body is None:
            self._metrics.events.labels("duplicate").inc()
            return
        try:
            await self.create(EVENT, body)
        except ClusterError:
            self._recorder.retract(regarding, reason=reason, message=message)
            self._metrics.events.labels("failed").inc()
        else:
            self._metrics.events.labels("posted").inc()

    # -- building ----------------------------------------------------------------------------------------

    def _call(
        self,
        verb: str,
        kind: Kind,
        method: str,
        name: str | None,
        namespace: str | None,
        *,
        subresource: str | None = None,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str = JSON,
    ) -> Call:
        path = kind.path(namespace=namespace, name=name, subresource=subresource)
        url = URL(self.connection.server + path, encoded=True)
        where = f" in {namespace}" if namespace else ""
        return Call(
            verb=verb,
            kind=kind,
            method=method,
            url=url.with_query(query) if query else url,
            what=f"{verb} {kind.kind}{f' {name}' if name else ''}{where}",
            body=None if body is None else orjson.dumps(body),
            content_type=content_type,
        )
