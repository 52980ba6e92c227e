"""Log-in: the mounted token and its rotation, kubeconfigs, TLS."""

import base64
import json
from pathlib import Path

import pytest
from elink_operator.cluster.client import Client
from elink_operator.cluster.connection import Connection, FileToken, from_kubeconfig, in_cluster
from elink_operator.cluster.errors import Forbidden, Unavailable
from elink_operator.cluster.kinds import NAMESPACE
from elink_operator.metrics import Metrics

from tests.support.apiserver import ApiServer


@pytest.mark.apiserver
async def test_the_kubeconfig_of_a_user(apiserver: ApiServer) -> None:
    async with Client(from_kubeconfig(str(apiserver.kubeconfig)), Metrics()) as client:
        assert (await client.get(NAMESPACE, "default"))["metadata"]["name"] == "default"


@pytest.mark.apiserver
async def test_a_kubeconfig_with_certificates_inside(apiserver: ApiServer, tmp_path: Path) -> None:
    config = json.loads(apiserver.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["certificate-authority-data"] = base64.b64encode(apiserver.ca.read_bytes()).decode()
    token = config["users"][0]["user"].pop("token")
    (tmp_path / "token").write_text(token)
    config["users"][0]["user"]["tokenFile"] = "token"
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    async with Client(from_kubeconfig(str(path)), Metrics()) as client:
        assert await client.get(NAMESPACE, "default")


@pytest.mark.apiserver
async def test_the_server_must_prove_who_it_is(apiserver: ApiServer, tmp_path: Path) -> None:
    config = json.loads(apiserver.kubeconfig.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    async with Client(from_kubeconfig(str(path)), Metrics()) as client:
        with pytest.raises(Unavailable, match="certificate"):
            await client.get_once(NAMESPACE, "default", None, timeout=5)


@pytest.mark.apiserver
async def test_a_rotated_token_is_used_after_the_first_refusal(apiserver: ApiServer, tmp_path: Path) -> None:
    host, _, port = apiserver.url.removeprefix("https://").rpartition(":")
    (tmp_path / "token").write_text(apiserver.admin_token)
    (tmp_path / "ca.crt").write_bytes(apiserver.ca.read_bytes())
    connection = in_cluster(tmp_path, host, port)
    (tmp_path / "token").write_text("revoked")
    async with Client(connection, Metrics()) as client:
        assert await client.get(NAMESPACE, "default")
        assert isinstance(connection.token, FileToken)
        connection.token.refused()
        with pytest.raises(Forbidden) as caught:
            await client.get(NAMESPACE, "default")
        assert caught.value.code == 401
        (tmp_path / "token").write_text(apiserver.admin_token)
        assert await client.get(NAMESPACE, "default")


def test_a_token_is_read_again_every_minute(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "token"
    path.write_text("one\n")
    token = FileToken(path, lambda: now)
    assert token() == "one"
    path.write_text("two\n")
    assert token() == "one"
    now = 61
    assert token() == "two"


async def test_the_token_goes_to_no_other_host() -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append("token")
        return "t"

    connection = Connection("http://127.0.0.1:1", None, token)
    async with connection.session(limit=1, connect_timeout=1) as session:
        with pytest.raises(OSError, match="Cannot connect"):
            await session.get("http://localhost:1/")
    assert asked == []


def test_an_unknown_context_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps({"current-context": "x", "contexts": [], "clusters": [], "users": []}))
    with pytest.raises(LookupError, match="no entry 'x'"):
        from_kubeconfig(str(path))
