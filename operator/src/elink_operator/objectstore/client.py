"""Buckets and accounts of tenants in an S3 store. Everything here is idempotent."""

import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from elink_operator.objectstore.errors import ObjectStoreError
from elink_operator.objectstore.signature import Login
from elink_operator.objectstore.transport import Answer, Transport, admin_login
from elink_operator.settings import Settings

_PAGE: Final = 1000
"""The most that one request may delete."""
_NOBODY: Final = "elink.nobody"
"""No tenant's: names of buckets that the operator makes have no dot."""
_MISSING: Final = "NoSuchBucket"
_SNAPSHOTS: Final = "repository/snapshots/"
_NO_VERSIONS: Final[frozenset[str | int]] = frozenset(
    {"VersioningNotConfigured", "NotImplemented", "MethodNotAllowed", 501}
)
"""How stores say that they keep no versions; then the plain list is all there is."""

Item = tuple[str, str, int]
"""Key, version (empty: none) and bytes."""


@dataclass(frozen=True)
class Erased:
    """What `erase_bucket` removed, and the snapshots that were among it (their IDs need no key)."""

    existed: bool
    objects: int = 0
    bytes: int = 0
    uploads: int = 0
    snapshots: tuple[str, ...] = ()


class ObjectStore:
    """The store as its administrator sees it. Every call raises ObjectStoreError."""

    def __init__(self, transport: Transport, credentials: Path) -> None:
        self._transport = transport
        self._credentials = credentials

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def admin(self) -> Login:
        """The log-in that the operator uses; the tenants' ones are derived from it, or are it."""
        return admin_login(self._credentials)

    async def ensure_account(self, login: Login) -> None:
        """An account without any right but to what it owns, with this secret (versitygw's admin API)."""
        values = {"Access": login.access, "Secret": login.secret, "Role": "user"}
        made = await self._admin("make an account", "/create-user", {}, values, fine={"XAdminUserExists"})
        if made.code:
            changed = {"Secret": login.secret, "Role": "user"}
            await self._admin("change an account", "/update-user", {"access": login.access}, changed)

    async def ensure_bucket(self, bucket: str, owner: str | None) -> None:
        """The bucket, owned by the account `owner` (None: by the administrator)."""
        there = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
        made = await self._transport.ask(f"make bucket {bucket}", "PUT", f"/{bucket}", fine=there)
        if made.code == "BucketAlreadyExists" and not await self.bucket_exists(bucket):
            raise ObjectStoreError(
                f"bucket {bucket} belongs to somebody else: choose another backup.s3.bucketPrefix",
                reason="StoreRefused", code=made.code,
            )  # fmt: skip
        if owner is not None:
            await self._admin(
                "give a bucket to its account", "/change-bucket-owner", {"bucket": bucket, "owner": owner}
            )

    async def bucket_exists(self, bucket: str) -> bool:
        """Ask the store. False also for a bucket of that name in somebody else's hands."""
        answer = await self._transport.ask(f"look at bucket {bucket}", "HEAD", f"/{bucket}", fine={404})
        return answer.status != 404

    async def account_exists(self, access: str) -> bool:
        """Ask versitygw's admin API."""
        answer = await self._admin("list accounts", "/list-users", {})
        return any(found.text == access for found in answer.body.iter() if found.tag.rpartition("}")[2] == "Access")

    async def delete_account(self, access: str) -> None:
        """The account can log in no more, and is not in the store's copy of its accounts either."""
        await self._delete_user(access)
        # versitygw keeps a copy of its accounts from before the newest change: after one more it is not in that.
        await self.ensure_account(Login(_NOBODY, secrets.token_urlsafe(32)))
        await self._delete_user(_NOBODY)

    async def _delete_user(self, access: str) -> None:
        await self._admin("delete an account", "/delete-user", {"access": access}, fine={"XAdminUserNotFound"})

    async def erase_bucket(self, bucket: str) -> Erased:
        """Remove every object, version and unfinished upload, then the bucket. Snapshots go last.

        Interrupted, the next call goes on, and can still name the snapshots that are left.
        """
        if not await self.bucket_exists(bucket):
            return Erased(existed=False)
        snapshots = tuple([key.removeprefix(_SNAPSHOTS) async for key, _, _ in self._objects(bucket, _SNAPSHOTS)])
        uploads = await self._abort_uploads(bucket)
        rest, last = await self._clear(bucket, but=_SNAPSHOTS), await self._clear(bucket)
        await self._transport.ask(f"delete bucket {bucket}", "DELETE", f"/{bucket}", fine={_MISSING})
        return Erased(True, rest[0] + last[0], rest[1] + last[1], uploads, snapshots)

    async def erase_old_versions(self, bucket: str) -> int:
        """Remove what a store that keeps versions still has of objects that were replaced or deleted; how many."""
        gone = 0
        before: list[Item] = []
        while page := await self._old_page(bucket):
            if page == before:
                raise ObjectStoreError(f"versions in bucket {bucket} do not go: {page[0][0]}", reason="StoreRefused")
            await self._delete(bucket, page)
            gone, before = gone + len(page), page
        return gone

    async def _old_page(self, bucket: str) -> list[Item]:
        async for page in self._versions(bucket, old=True):
            if page:
                return page
        return []

    async def _clear(self, bucket: str, *, but: str | None = None) -> tuple[int, int]:
        """Delete everything that is not below `but`; how many objects and bytes it was."""
        objects = size = 0
        before: list[Item] = []
        # From the beginning after each deletion: a store may lose its place in a list that shrinks.
        while page := await self._page(bucket, but):
            if page == before:
                raise ObjectStoreError(f"objects of bucket {bucket} do not go: {page[0][0]}", reason="StoreRefused")
            await self._delete(bucket, page)
            objects, size, before = objects + len(page), size + sum(item[2] for item in page), page
        return objects, size

    async def _page(self, bucket: str, but: str | None) -> list[Item]:
        """Up to a thousand versions, or what a plain list shows when there are none; not below `but`."""
        async for page in self._versions(bucket):
            if found := [item for item in page if but is None or not item[0].startswith(but)]:
                return found
        found = []
        async for item in self._objects(bucket, ""):
            if but is None or not item[0].startswith(but):
                found.append(item)
            if len(found) == _PAGE:
                break
        return found

    async def _versions(self, bucket: str, *, old: bool = False) -> AsyncIterator[list[Item]]:
        """Pages of versions; `old`: only those that no object is any more, and marks of deletion."""
        query = {"versions": "", "max-keys": str(_PAGE)}
        while True:
            answer = await self._list("versions", bucket, query, fine=_NO_VERSIONS)
            if answer.status >= 300:
                return
            versions = answer.body.iterfind("{*}Version")
            found = [one for one in versions if not old or one.findtext("{*}IsLatest") == "false"]
            found += answer.body.iterfind("{*}DeleteMarker")
            yield [
                (one.findtext("{*}Key") or "", one.findtext("{*}VersionId") or "", int(one.findtext("{*}Size") or 0))
                for one in found
            ]
            if answer.body.findtext("{*}IsTruncated") != "true":
                return
            query["key-marker"] = answer.body.findtext("{*}NextKeyMarker") or ""
            query["version-id-marker"] = answer.body.findtext("{*}NextVersionIdMarker") or ""

    async def _objects(self, bucket: str, prefix: str) -> AsyncIterator[Item]:
        query = {"list-type": "2", "prefix": prefix}
        while True:
            answer = await self._list("objects", bucket, query)
            for one in answer.body.iterfind("{*}Contents"):
                yield one.findtext("{*}Key") or "", "", int(one.findtext("{*}Size") or 0)
            token = answer.body.findtext("{*}NextContinuationToken")
            if not token:
                return
            query["continuation-token"] = token

    async def _list(self, what: str, bucket: str, query: dict[str, str], *, fine: Collection[str | int] = ()) -> Answer:
        answer = await self._transport.ask(f"list {what}", "GET", f"/{bucket}", query, fine=fine)
        if answer.status < 300 and not answer.body.tag.endswith("Result"):
            # What cannot be read must not pass for an empty list.
            raise ObjectStoreError(f"the backup store answers with something that is no list of {what}")
        return answer

    async def _abort_uploads(self, bucket: str) -> int:
        gone = 0
        while True:
            answer = await self._list("uploads", bucket, {"uploads": ""})
            found = list(answer.body.iterfind("{*}Upload"))
            for one in found:
                key, upload = one.findtext("{*}Key") or "", one.findtext("{*}UploadId") or ""
                await self._transport.ask(
                    "end an upload", "DELETE", f"/{bucket}/{key}", {"uploadId": upload}, fine={"NoSuchUpload"}
                )
            gone += len(found)
            if not found or answer.body.findtext("{*}IsTruncated") != "true":
                return gone

    async def _delete(self, bucket: str, items: Sequence[Item]) -> None:
        if not items:
            return
        listed = "".join(
            f"<Object><Key>{escape(key)}</Key>" + (f"<VersionId>{escape(version)}</VersionId>" if version else "")
            + "</Object>"
            for key, version, _ in items
        )  # fmt: skip
        body = f"<Delete><Quiet>true</Quiet>{listed}</Delete>".encode()
        answer = await self._transport.ask("delete objects", "POST", f"/{bucket}", {"delete": ""}, body=body)
        wrong = answer.body.find("{*}Error")
        if wrong is not None:
            code = wrong.findtext("{*}Code") or "an error"
            raise ObjectStoreError(
                f"the backup store refused to delete an object of {bucket}: {code}; it is tried again",
                reason="StoreRefused", code=code,
            )  # fmt: skip

    async def _admin(
        self,
        what: str,
        path: str,
        query: dict[str, str],
        values: dict[str, str] | None = None,
        *,
        fine: set[str] | None = None,
    ) -> Answer:
        fields = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in (values or {}).items())
        body = f"<Account>{fields}</Account>".encode() if values else b""
        return await self._transport.ask(what, "PATCH", path, query, body=body, fine=fine or ())


def connect(settings: Settings, clock: Callable[[], datetime]) -> ObjectStore | None:
    """The store that the settings name, or None. Call it inside a running loop.

    Also when backups lie on volumes now: then it erases the buckets from before.
    """
    if not settings.backup_s3_endpoint:
        return None
    folder = Path(settings.backup_s3_credentials_dir)
    authority = Path(settings.backup_s3_ca_file) if settings.backup_s3_ca_file else None
    transport = Transport(settings.backup_s3_endpoint, settings.backup_s3_region, folder, clock, authority)
    return ObjectStore(transport, folder)
