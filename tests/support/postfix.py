"""A real Postfix on loopback for tests: its own settings, queue and port, with TLS and a log-in; gone at the end."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port

USER, PASSWORD = "elink", "relay password"
_DAEMONS = Path("/usr/lib/postfix/sbin")

# Nothing is looked up in DNS, nothing is delivered here, nobody sends without a log-in.
_MAIN = """
compatibility_level = 3.6
config_directory = {folder}/etc
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
local_recipient_maps =
local_transport = error:nobody lives here
alias_maps =
disable_dns_lookups = yes
smtp_host_lookup = native
transport_maps = texthash:{folder}/etc/transport
smtpd_tls_chain_files = {chain}
smtpd_tls_security_level = encrypt
smtpd_sasl_auth_enable = yes
cyrus_sasl_config_path = {folder}/etc/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/etc/access
"""
_MASTER = """
{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
_SASL = """
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN
sasldb_path: {folder}/etc/sasldb2
"""


@dataclass(frozen=True)
class Postfix:
    """A running Postfix. `log` is where it writes down what it does."""

    port: int
    log: Path


@contextmanager
def running_postfix(chain: Path, *, routes: Mapping[str, int], answers: Mapping[str, str]) -> Iterator[Postfix]:
    """`chain`: key and certificate for `localhost`. `routes`: domain → port on loopback that its mail goes to.

    `answers`: recipient → what is said to RCPT ("450 4.2.1 busy"). Everybody else is taken from who is logged in.
    """
    if shutil.which("postfix") is None and Path("/usr/sbin/sendmail").exists():
        pytest.skip("another mail server is installed, which the package postfix would remove")
    for program in ("postfix", "saslpasswd2"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: run 'make prerequisites'")
    # Not in pytest's folder: its daemons give up root, and must still reach theirs.
    folder = Path(tempfile.mkdtemp(prefix="elink-postfix-"))
    folder.chmod(0o755)
    port = free_port()
    try:
        etc, queue, data = folder / "etc", folder / "queue", folder / "data"
        for one in (etc, queue, data, etc / "sasl"):
            one.mkdir()
        shutil.chown(data, "postfix")
        (etc / "main.cf").write_text(_MAIN.format(folder=folder, daemons=_DAEMONS, chain=chain))
        (etc / "master.cf").write_text(_MASTER.format(port=port))
        (etc / "transport").write_text("".join(f"{name} smtp:[127.0.0.1]:{to}\n" for name, to in routes.items()))
        (etc / "access").write_text("".join(f"{who} {words}\n" for who, words in answers.items()))
        (etc / "sasl" / "smtpd.conf").write_text(_SASL.format(folder=folder))
        database = etc / "sasldb2"
        _run("saslpasswd2", "-p", "-c", "-f", str(database), "-u", "localhost", USER, stdin=PASSWORD)
        shutil.chown(database, "postfix")
        _run("postfix", "-c", str(etc), "start")
        try:
            yield Postfix(port, folder / "log")
        finally:
            _run("postfix", "-c", str(etc), "abort")
    finally:
        shutil.rmtree(folder)


def _run(*command: str, stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
