"""Real packets: pods as network namespaces, joined by a router the way the ptp plugin of CNI does it.

Every pod has a /32 (and /128) address and one link to the router namespace, so the router forwards, and filters,
every packet between pods. Needs root; touches only namespaces that it makes itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from hack.cluster.netpol import filter as packet_filter
from hack.cluster.netpol.compile import compile_world
from hack.cluster.netpol.model import World
from hack.cluster.netpol.render import render

CLONE_NEWNET = 0x40000000
GATEWAY_4, GATEWAY_6 = "10.77.0.1", "fd77::1"
POD_CIDRS = ("10.77.0.0/24", "fd77::/64")
PORTS = (80, 81, 8080, 9000)
# A dropped packet is one that did not arrive in this time; one that should arrive gets much longer on a busy machine.
SILENCE_SECONDS, ANSWER_SECONDS = 0.35, 5.0
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Run the body of this thread (and the processes and sockets that it makes) in the network namespace `name`."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/var/run/netns/{name}", "rb") as target:
        _enter(target.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True)
class Flow:
    """A new connection from pod `source` to `target` (a pod, "node", or an address)."""

    source: str
    target: str
    port: int = 80
    protocol: str = "TCP"
    family: int = 4


class Lab:
    """The router, its pods and their echo servers. A context manager."""

    def __init__(self, *pods: str) -> None:
        self._prefix = f"np{os.getpid()}-{threading.get_ident() % 10000}"
        self.router = f"{self._prefix}-r"
        self._outside = "outside"
        self.names = (*pods, self._outside)
        self.addresses: dict[str, tuple[str, str]] = {
            name: (f"10.77.0.{i}", f"fd77::{i}") for i, name in enumerate(pods, start=10)
        }
        self.addresses[self._outside] = ("192.0.2.10", "2001:db8::10")
        self.addresses["node"] = ("192.0.2.1", "2001:db8::1")
        self._echo = Echo()

    def __enter__(self) -> Lab:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._echo.close()
        for name in (self.router, *(self.netns(pod) for pod in self.names)):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def netns(self, pod: str) -> str:
        return self.router if pod == "node" else f"{self._prefix}-{self.names.index(pod)}"

    def _build(self) -> None:
        _ip("", [f"netns add {name}" for name in (self.router, *(self.netns(pod) for pod in self.names))])
        with inside(self.router):
            for knob in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                with open(f"/proc/sys/net/{knob}", "w") as file:
                    file.write("1")
        node = ["link set lo up"]
        node += [f"addr add {self.addresses['node'][0]}/32 dev lo", f"addr add {self.addresses['node'][1]}/128 dev lo"]
        for i, pod in enumerate(self.names):
            four, six = self.addresses[pod]
            link = f"pod{i}"
            node += [f"link add {link} type veth peer name eth0 netns {self.netns(pod)}", f"link set {link} up"]
            node += [f"addr add {GATEWAY_4}/32 dev {link}", f"addr add {GATEWAY_6}/128 dev {link} nodad"]
            node += [f"route add {four}/32 dev {link}", f"route add {six}/128 dev {link}"]
        _ip(self.router, node)
        for pod in self.names:
            four, six = self.addresses[pod]
            own = ["link set lo up", "link set eth0 up"]
            own += [f"addr add {four}/32 dev eth0", f"addr add {six}/128 dev eth0 nodad"]
            own += [f"route add {GATEWAY_4}/32 dev eth0", f"route add default via {GATEWAY_4} src {four}"]
            own += [f"route add {GATEWAY_6}/128 dev eth0", f"route add default via {GATEWAY_6} src {six}"]
            _ip(self.netns(pod), own)
        for pod in (*self.names, "node"):
            with inside(self.netns(pod)):
                for port in PORTS:
                    self._echo.listen(port, *self.addresses[pod])
        self._echo.start()

    def apply(self, world: World) -> None:
        """Load the rules of `world` as the agent would."""
        with inside(self.router):
            packet_filter.load(render(compile_world(world)))

    def nft(self, text: str) -> None:
        """Load rules of the test's own into the router, for example a Service's translation."""
        with inside(self.router):
            subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)

    def address(self, target: str, family: int = 4) -> str:
        return self.addresses[target][family == 6] if target in self.addresses else target

    def open(self, flow: Flow) -> socket.socket:
        """Start a connection without waiting; a UDP socket has its first datagram sent."""
        kind = socket.SOCK_STREAM if flow.protocol == "TCP" else socket.SOCK_DGRAM
        with inside(self.netns(flow.source)):
            sock = socket.socket(socket.AF_INET6 if flow.family == 6 else socket.AF_INET, kind)
        sock.setblocking(False)
        code = sock.connect_ex((self.address(flow.target, flow.family), flow.port))
        if flow.protocol == "UDP" and not code:
            sock.send(b"hello")
        return sock

    def passes(self, flows: list[Flow], awaited: Collection[Flow] = ()) -> dict[Flow, bool]:
        """Say for each flow whether an answer came back; an answer to `awaited` flows may take long."""
        sockets = {self.open(flow): flow for flow in flows}
        start, answered = time.monotonic(), set[Flow]()
        with selectors.DefaultSelector() as selector:
            for sock, flow in sockets.items():
                selector.register(sock, selectors.EVENT_READ, flow)
            while (waited := time.monotonic() - start) < ANSWER_SECONDS:
                if waited > SILENCE_SECONDS and answered.issuperset(awaited):
                    break
                for key, _ in selector.select(0.05):
                    selector.unregister(key.fileobj)
                    with contextlib.suppress(OSError):
                        if key.fileobj.recv(64):  # type: ignore[union-attr]
                            answered.add(key.data)
        for sock in sockets:
            sock.close()
        return {flow: flow in answered for flow in flows}

    def expect(self, hoped: Mapping[Flow, bool]) -> None:
        """Assert which flows pass; at least one must, so that a broken lab is not taken for a good policy."""
        assert any(hoped.values()), "a test without a positive control proves nothing"
        found = self.passes(list(hoped), [flow for flow in hoped if hoped[flow]])
        assert found == dict(hoped), {flow: found[flow] for flow in hoped if found[flow] != hoped[flow]}


def _ip(netns: str, commands: list[str]) -> None:
    command = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    subprocess.run(command, input="\n".join(commands) + "\n", text=True, check=True)


class Echo(threading.Thread):
    """Servers on every address of the namespaces that `listen` was called in: TCP greets, then both send back."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._selector = selectors.DefaultSelector()
        self._running = True

    def listen(self, port: int, *addresses: str) -> None:
        """Serve TCP on every address of this namespace, and UDP on `addresses`.

        A datagram server on "::" would answer from whichever of several addresses the route back prefers.
        """
        for address in ("::", *addresses):
            kind = socket.SOCK_STREAM if address == "::" else socket.SOCK_DGRAM
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address == "::":
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind((address, port))
            server.setblocking(False)
            if kind == socket.SOCK_STREAM:
                server.listen(128)
            handler = self._accept if kind == socket.SOCK_STREAM else self._datagram
            self._selector.register(server, selectors.EVENT_READ, handler)

    def run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(0.1):
                with contextlib.suppress(OSError):
                    key.data(key.fileobj)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def close(self) -> None:
        self._running = False
        if self.is_alive():
            self.join()

    def _accept(self, server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self._stream)
        connection.send(b"welcome")

    def _stream(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = connection.recv(4096)
        if data:
            connection.send(data)
        else:
            self._selector.unregister(connection)
            connection.close()

    @staticmethod
    def _datagram(server: socket.socket) -> None:
        data, sender = server.recvfrom(4096)
        server.sendto(data, sender)
