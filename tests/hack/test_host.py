"""The host's side: processes, control groups, forwarded ports, mounts."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import cgroups, packages, ports, processes
from hack.cluster.config import ROOT, Cluster
from hack.cluster.packages import missing
from hack.cluster.steps import StepError, Steps, wait_for
from hack.cluster.teardown import mounts_below
from tests.support.ports import free_port


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_recorded_process_is_known_by_more_than_its_number(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "pid"
    processes.record(file, sleeper.pid)
    assert processes.recorded(file) == sleeper.pid
    file.write_text(f"{sleeper.pid} 1\n")
    assert processes.recorded(file) is None, "the number was given to another process"
    file.write_text("")
    assert processes.recorded(file) is None, "half-written"
    assert processes.recorded(tmp_path / "none") is None


def test_end_ends_and_says_so(sleeper: subprocess.Popen[bytes]) -> None:
    threading.Thread(target=sleeper.wait, daemon=True).start()
    assert processes.end(sleeper.pid)
    assert processes.start_time(sleeper.pid) is None
    assert processes.end(sleeper.pid), "ending what is gone is no error"


def test_end_of_a_process_that_ignores_sigterm() -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    threading.Thread(target=deaf.wait, daemon=True).start()
    assert processes.end(deaf.pid, patience=0.3)


def test_children_are_found(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.pid in processes.children(os.getpid())
    # The kernel shows the arguments a moment after the new program has begun.
    wait_for(
        lambda: sleeper.pid in processes.matching(lambda args: args == ["sleep", "60"]), timeout=60, what="it is found"
    )


@pytest.mark.parametrize("unified", [True, False])
def test_control_groups_of_both_layouts(tmp_path: Path, unified: bool) -> None:
    if unified:
        (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
        (tmp_path / "cgroup.subtree_control").write_text("")
        trees = [tmp_path]
    else:
        trees = [tmp_path / "cpuset", tmp_path / "memory"]
        for tree in trees:
            tree.mkdir()
            (tree / "tasks").write_text("")
        (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
        (tmp_path / "unrelated").mkdir()
    assert cgroups.hierarchies(tmp_path) == trees
    cgroups.create("elink-x", tmp_path)
    cgroups.create("elink-x", tmp_path)
    assert all((tree / "elink-x" / "node").is_dir() for tree in trees)
    for tree in trees:
        (tree / "elink-x" / "node" / "cgroup.procs").write_text("11\n12\n")
        (tree / "elink-x" / "cgroup.procs").write_text("13\n")
    assert cgroups.members("elink-x", tmp_path) == {11, 12, 13}
    assert cgroups.left("elink-x", tmp_path) == [tree / "elink-x" for tree in trees]


def test_mounts_below_a_folder_only() -> None:
    table = (
        "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /a/.cluster/data/x rw - tmpfs t rw\n"
        "3 1 0:5 / /a/.cluster-test rw - tmpfs t rw\n4 1 0:5 / /a/.cluster rw - tmpfs t rw\n"
        "5 1 0:5 / /a/.cluster/with\\040space rw - tmpfs t rw\n"
    )
    assert mounts_below(Path("/a/.cluster"), table) == ["/a/.cluster/data/x", "/a/.cluster", "/a/.cluster/with space"]


def test_missing_packages(tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "a").touch()
    assert missing({"has": "/usr/a", "lacks": "/usr/b"}, tmp_path) == ["lacks"]


def test_dockers_own_package_brings_runc_elsewhere(tmp_path: Path) -> None:
    """Debian's runc would take its place, and with it Docker away."""
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "runc").touch()
    assert missing({"runc": packages.NODE["runc"]}, tmp_path) == []


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that lacks the package `one`; apt-get writes its arguments into `apt` and whether services may start."""
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$* policy=$(cat {tmp_path}/policy-rc.d | tail -n 1)" >>{tmp_path}/apt\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(packages, "_POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(packages, "NODE", {"one": str(tmp_path / "one")})
    monkeypatch.setattr(packages, "BUILD", {})
    monkeypatch.setenv("ELINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def test_nothing_is_removed_for_what_is_installed(debian: Path) -> None:
    packages.ensure(Steps(debian / "logs", out=io.StringIO()))
    update, install = (debian / "apt").read_text().splitlines()
    assert " update " in update
    assert "--no-remove" in install
    assert install.endswith("one policy=exit 101")
    assert not (debian / "policy-rc.d").exists()


KILLED = """
import os, sys
from pathlib import Path
from hack.cluster import packages
from hack.cluster.steps import Steps
packages._POLICY, packages.NODE = Path(sys.argv[1]), {"one": sys.argv[1] + ".none"}
packages._install = lambda *_: os.kill(os.getpid(), 9)
packages.ensure(Steps(Path(sys.argv[2])))
"""


def test_a_killed_installation_does_not_keep_services_from_starting_for_ever(debian: Path) -> None:
    policy = debian / "policy-rc.d"
    assert subprocess.run([sys.executable, "-c", KILLED, policy, debian / "logs"], check=False).returncode == -9
    assert policy.exists()
    (debian / "one").touch()
    packages.ensure(Steps(debian / "logs", out=io.StringIO()))
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 101\n")
    packages.ensure(Steps(debian / "logs", out=io.StringIO()))
    assert policy.exists(), "the administrator's own stays"


class Echo(threading.Thread):
    """A server that answers once its client has finished sending: only half-closed connections survive it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                data = b"".join(iter(lambda c=connection: c.recv(65536), b""))
                connection.sendall(data[::-1])


def test_the_forwarder_carries_both_directions_to_their_ends(tmp_path: Path) -> None:
    echo, port = Echo(), free_port()
    echo.start()
    command = [sys.executable, "-I", str(ports._FORWARD), "elink-x", f"{port}=127.0.0.1:{echo.port}"]
    forwarder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert forwarder.stdout is not None
        assert b"forwarding" in forwarder.stdout.readline()
        payload = os.urandom(3_000_000)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer == payload[::-1]
        echo.socket.shutdown(socket.SHUT_RDWR)
        echo.socket.close()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            assert client.recv(1) == b"", "a dead backend closes the connection, it does not hang"
        assert forwarder.poll() is None
    finally:
        forwarder.kill()
        forwarder.wait()


def test_a_taken_port_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(Cluster, "https_port", property(lambda _: port))
        with pytest.raises(StepError, match=f"port {port}") as caught:
            ports.refuse_taken(Cluster("dev", tmp_path))
        assert "ss -ltnp" in caught.value.advice
        wait_for(lambda: ports.busy(port), timeout=60, what="busy")


PLENTY = "df() { echo 99999999; }; awk() { echo 99999999; }\n"


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """Where hack/test-tmp keeps the files of user 65534."""
    folder = Path("/dev/shm/elink-tests-65534")
    yield folder
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the place of another user")
@pytest.mark.parametrize("made", ["by nobody else", "as a folder", "as a link"])
def test_tests_keep_nothing_where_another_user_may_write(nobodys: Path, made: str) -> None:
    """Else the one who comes first has the other, perhaps root, overwrite a file or run a program."""
    trap = Path(tempfile.mkdtemp(prefix="elink-trap-"))
    if made == "as a folder":
        nobodys.mkdir()
        nobodys.chmod(0o777)
    elif made == "as a link":
        trap.chmod(0o777)
        nobodys.symlink_to(trap)
    shown = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-s"],
        input=PLENTY + (ROOT / "hack" / "test-tmp").read_text(), capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": "/elsewhere"},
    ).stdout.strip()  # fmt: skip
    assert shown == (str(nobodys) if made == "by nobody else" else "/elsewhere")
    assert list(trap.iterdir()) == []
    trap.rmdir()
