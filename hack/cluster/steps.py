"""Steps that a person can follow: what runs, for how long, and where to look when it fails."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class StepError(Exception):
    """A step failed: `advice` says what to do, `log` is the file with the details."""

    def __init__(self, message: str, *, log: Path | None = None, advice: str = "") -> None:
        super().__init__(message)
        self.log = log
        self.advice = advice


class Steps:
    """Prints one line per step and a sign of life every `every` seconds while it runs."""

    def __init__(self, logs: Path, *, out: IO[str] | None = None, every: float = 20.0) -> None:
        self.logs = logs
        self._out = out or sys.stdout
        self._every = every
        self._began = time.monotonic()
        self.log = logs / "cluster.log"

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        print(f"[{time.monotonic() - self._began:6.1f}s] {text}", file=self._out, flush=True)

    @contextmanager
    def step(self, what: str, log: str) -> Iterator[Path]:
        """Run a named step: yields the log file that its commands write to.

        Any failure comes out as `StepError` that names the log.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        path = self.logs / f"{log}.log"
        before, self.log = self.log, path
        done = threading.Event()
        began = time.monotonic()
        self.say(f"{what} …")
        watcher = threading.Thread(target=self._sign_of_life, args=(what, began, done), daemon=True)
        watcher.start()
        try:
            yield path
        except StepError as error:
            raise StepError(f"{what}: {error}", log=error.log or path, advice=error.advice) from error
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            raise StepError(f"{what}: {error}", log=path) from error
        finally:
            done.set()
            watcher.join()
            self.log = before
        self.say(f"{what}: done in {time.monotonic() - began:.1f} s")

    def _sign_of_life(self, what: str, began: float, done: threading.Event) -> None:
        while not done.wait(self._every):
            self.say(f"  … {what}: {time.monotonic() - began:.0f} s so far")

    def run(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        advice: str = "",
    ) -> None:
        """Run a command with its output in the step's log; `StepError` with the last lines when it fails."""
        args = [str(part) for part in command]
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(args)}\n")
            log.flush()
            done = subprocess.run(
                args,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                check=False,
                text=True,
                **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
            )
        if done.returncode != 0:
            raise StepError(
                f"{Path(args[0]).name} exited with {done.returncode}: {tail(self.log)}", log=self.log, advice=advice
            )


def read(*command: str | Path, env: Mapping[str, str] | None = None, check: bool = True, timeout: float = 60) -> str:
    """Run a command and return what it prints; `StepError` with its complaint when it fails and `check` is set."""
    args = [str(part) for part in command]
    done = subprocess.run(
        args, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False, timeout=timeout
    )
    if check and done.returncode != 0:
        raise StepError(f"{' '.join(args[:4])} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def succeeds(*command: str | Path, env: Mapping[str, str] | None = None) -> bool:
    """Whether a command exits with 0; its output is dropped, a missing program counts as failure."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log in one line."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-lines:])


def wait_for(probe: Callable[[], bool], *, timeout: float, what: str, log: Path | None = None) -> None:
    """Call `probe` until it is true; `StepError` that says `what` did not happen after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.05
    while not probe():
        if time.monotonic() > deadline:
            raise StepError(f"{what}: not so after {timeout:.0f} s", log=log)
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


@contextmanager
def locked(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock on `path`; `busy` is called when another process has it. Death frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> bool:
    """Write a file by rename, so that a reader (or a kill) never sees half of it; whether it changed."""
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(handle.fileno(), mode)
        handle.write(data)
    temporary.rename(path)
    return True


def joined(parts: Sequence[str]) -> str:
    """A readable list."""
    return ", ".join(parts) if parts else "nothing"
