"""Buckets and accounts on a real store: made twice, reached by their owner only, erased to the last version."""

from __future__ import annotations

import asyncio
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from elink_operator.objectstore import ObjectStore, ObjectStoreError, connect
from elink_operator.objectstore.signature import Login, path_text, query_text, signed_headers
from elink_operator.settings import Settings

from tests.support.certificates import Authority
from tests.support.versitygw import ACCESS, REGION, SECRET, Gateway, gateway

ROOT = Path(__file__).resolve().parents[3]
ADMIN = Login(ACCESS, SECRET)
MINE, OTHER = Login("elink-aozora", "mine"), Login("elink-aozora-2", "other")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("store")) as store:
        yield store


def settings_of(store: Gateway, **changes: str) -> Settings:
    values = {
        "backup_store": "S3",
        "backup_s3_endpoint": store.url,
        "backup_s3_region": REGION,
        "backup_s3_accounts": "versitygw",
        "backup_s3_credentials_dir": str(store.credentials),
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
async def objects(running: Gateway) -> AsyncIterator[ObjectStore]:
    store = connect(settings_of(running), lambda: datetime.now(UTC))
    assert store is not None
    yield store
    for name in (MINE.access, OTHER.access):
        await store.erase_bucket(name)
        await store.delete_account(name)
    await store.close()


def ask(
    store: Gateway, login: Login, method: str, path: str, query: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    """One request as somebody; status and body."""
    url = store.url + path_text(path) + (f"?{query_text(query)}" if query else "")
    headers = signed_headers(login, REGION, method, url, body, datetime.now(UTC), {})
    request = urllib.request.Request(url, headers=headers, method=method, data=body or None)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def make(objects: ObjectStore, login: Login) -> None:
    await objects.ensure_account(login)
    await objects.ensure_bucket(login.access, login.access)


async def test_a_tenant_reaches_its_own_bucket_and_no_other(running: Gateway, objects: ObjectStore) -> None:
    await make(objects, MINE)
    await make(objects, OTHER)
    await make(objects, OTHER)  # again, as after a lost Secret
    key = f"/{OTHER.access}/秘密 +&'<>.txt"
    assert ask(running, OTHER, "PUT", key, body=b"other's")[0] == 200
    assert ask(running, OTHER, "GET", key) == (200, b"other's")
    for method, path in [("GET", key), ("PUT", key), ("DELETE", key), ("GET", f"/{OTHER.access}")]:
        assert ask(running, MINE, method, path, body=b"x" if method == "PUT" else b"")[0] == 403, (method, path)
    assert ask(running, MINE, "DELETE", f"/{OTHER.access}")[0] == 403
    assert ask(running, MINE, "PUT", "/elink-new-bucket")[0] == 403
    for path, query in [("/list-users", None), ("/delete-user", {"access": OTHER.access}),
                        ("/change-bucket-owner", {"bucket": OTHER.access, "owner": MINE.access})]:  # fmt: skip
        assert ask(running, MINE, "PATCH", path, query)[0] == 403, path
    assert OTHER.access.encode() not in ask(running, MINE, "GET", "/")[1]
    assert ask(running, OTHER, "GET", key) == (200, b"other's")


async def test_a_new_secret_replaces_the_old_one(running: Gateway, objects: ObjectStore) -> None:
    await make(objects, MINE)
    await make(objects, Login(MINE.access, "new"))
    assert ask(running, MINE, "GET", f"/{MINE.access}")[0] == 403
    assert ask(running, Login(MINE.access, "new"), "GET", f"/{MINE.access}")[0] == 200


async def test_a_bucket_is_erased_with_versions_and_unfinished_uploads(running: Gateway, objects: ObjectStore) -> None:
    await make(objects, MINE)
    await make(objects, OTHER)
    bucket = f"/{MINE.access}"
    assert ask(running, MINE, "PUT", f"{bucket}/repository/plain", body=b"x")[0] == 200
    assert await objects.erase_old_versions(MINE.access) == 0, "a store that keeps no versions has no old ones"
    assert ask(running, MINE, "DELETE", f"{bucket}/repository/plain")[0] == 204
    versioned = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert ask(running, ADMIN, "PUT", bucket, {"versioning": ""}, versioned)[0] == 200
    for key in ("repository/config", "repository/data/00/a", "repository/snapshots/0a1b2c3d4e", "a & b <c>"):
        for content in (b"first", b"second"):
            assert ask(running, MINE, "PUT", f"{bucket}/{key}", body=content)[0] == 200
    assert ask(running, MINE, "DELETE", f"{bucket}/repository/config")[0] == 204
    assert ask(running, MINE, "POST", f"{bucket}/big", {"uploads": ""})[0] == 200
    assert ask(running, OTHER, "PUT", f"/{OTHER.access}/kept", body=b"kept")[0] == 200
    assert await objects.erase_old_versions(MINE.access) == 6, "four replaced, one deleted, and the mark of that"
    assert await objects.erase_old_versions(MINE.access) == 0
    assert ask(running, MINE, "GET", f"{bucket}/repository/data/00/a") == (200, b"second")
    assert ask(running, MINE, "PUT", f"{bucket}/repository/data/00/a", body=b"third")[0] == 200
    erased = await objects.erase_bucket(MINE.access)
    assert (erased.existed, erased.uploads, erased.snapshots) == (True, 1, ("0a1b2c3d4e",))
    assert erased.objects >= 4
    assert not await objects.bucket_exists(MINE.access)
    assert not [
        p for name in ("buckets", "meta", "versions") for p in (running.root / name).glob(f"{MINE.access}/**/*")
    ]
    assert await objects.account_exists(MINE.access)
    await objects.delete_account(MINE.access)
    assert not await objects.account_exists(MINE.access)
    copies = [p for p in (running.root / "iam").rglob("*") if p.is_file()]
    assert copies, "the search must find what is there"
    assert not [p for p in copies if f'"{MINE.access}"' in p.read_text()], "nor is it in a copy"
    assert ask(running, MINE, "GET", "/")[0] == 403
    again = await objects.erase_bucket(MINE.access)
    assert not again.existed
    await objects.delete_account(MINE.access)
    assert ask(running, OTHER, "GET", f"/{OTHER.access}/kept") == (200, b"kept")


async def test_more_than_one_page_is_erased(running: Gateway, objects: ObjectStore) -> None:
    await make(objects, MINE)
    folder = running.bucket(MINE.access) / "repository" / "data"
    folder.mkdir(parents=True)
    for number in range(1205):
        (folder / f"{number:04}").write_bytes(b"x")
    erased = await objects.erase_bucket(MINE.access)
    assert (erased.objects, erased.bytes) == (1205, 1205)
    assert not await objects.bucket_exists(MINE.access)


async def test_a_store_that_is_away_or_refuses_says_so(running: Gateway, tmp_path: Path) -> None:
    away = connect(settings_of(running, backup_s3_endpoint="http://127.0.0.1:1"), lambda: datetime.now(UTC))
    wrong = tmp_path / "admin"
    shutil.copytree(running.credentials, wrong)
    (wrong / "secret-key").write_text("another-secret")
    stranger = connect(settings_of(running, backup_s3_credentials_dir=str(wrong)), lambda: datetime.now(UTC))
    nobody = connect(settings_of(running, backup_s3_credentials_dir=str(tmp_path)), lambda: datetime.now(UTC))
    assert away is not None and stranger is not None and nobody is not None  # noqa: PT018
    try:
        for store, reason in ((away, "StoreAway"), (stranger, "WrongLogin"), (nobody, "WrongLogin")):
            for call in (
                store.ensure_bucket("elink-x", None),
                store.erase_bucket("elink-x"),
                store.bucket_exists("elink-x"),
            ):
                with pytest.raises(ObjectStoreError) as caught:
                    await call
                assert caught.value.reason == reason
                assert "another-secret" not in str(caught.value)
    finally:
        await asyncio.gather(away.close(), stranger.close(), nobody.close())


async def test_a_private_authority_is_trusted_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    with gateway(tmp_path / "store", authority) as store:
        named = connect(settings_of(store, backup_s3_ca_file=str(authority.certificate)), lambda: datetime.now(UTC))
        unnamed = connect(settings_of(store), lambda: datetime.now(UTC))
        assert named is not None
        assert unnamed is not None
        try:
            await make(named, MINE)
            assert await named.bucket_exists(MINE.access)
            with pytest.raises(ObjectStoreError, match="does not answer") as caught:
                await unnamed.bucket_exists(MINE.access)
            assert caught.value.reason == "StoreAway"
        finally:
            await asyncio.gather(named.close(), unnamed.close())


def test_the_example_of_the_s3_reference_is_signed_as_printed_there() -> None:
    login = Login("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    signed = signed_headers(
        login, "us-east-1", "GET", "https://examplebucket.s3.amazonaws.com/test.txt", b"",
        datetime(2013, 5, 24, tzinfo=UTC), {"Range": "bytes=0-9"},
    )  # fmt: skip
    assert signed["authorization"].endswith("f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    assert "EXAMPLEKEY" not in repr(login)


def test_operator_and_backup_image_sign_alike() -> None:
    copies = ("operator/src/elink_operator/objectstore/signature.py", "hack/images/backup/elink_backup/signature.py")
    assert len({(ROOT / copy).read_bytes() for copy in copies}) == 1


@pytest.mark.parametrize(
    "endpoint", ["store:7070", "https://", "https://a/b", "ftp://a", "https://a b", "https://u:p@a"]
)
def test_what_is_no_address_of_a_store_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="backup_s3_endpoint"):
        Settings(backup_store="S3", backup_s3_endpoint=endpoint, backup_s3_credentials_dir="/x")


def test_half_a_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="needs"):
        Settings(backup_store="S3")
