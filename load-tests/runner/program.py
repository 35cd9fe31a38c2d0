"""Runs programs, each with a deadline and in a process group of its own, so that none outlives the run."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from runner.paths import REPOSITORY

LISTENING = re.compile(r"^listening on http://(127\.0\.0\.1:\d+)$", re.MULTILINE)
START_SECONDS = 60
STOP_SECONDS = 60
TICK_SECONDS = 0.5
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# Calls on loopback must not go through this machine's proxy.
LOOPBACK = {"NO_PROXY": "*", "no_proxy": "*", "no_grpc_proxy": "127.0.0.1,localhost"}


class Failure(Exception):
    """An error that fails the run, with a message for its reader."""


class Program:
    """A running program. Its output goes to files, so that it never blocks on a full pipe."""

    running: "set[Program]" = set()

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self.name = shlex.join(str(part) for part in command)
        self._output: IO[bytes] = tempfile.TemporaryFile()
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | LOOPBACK | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            raise Failure(f"cannot start {command[0]}: {error}") from None
        Program.running.add(self)

    def wait(self, seconds: float, on_tick: Callable[[], None] = lambda: None) -> str:
        """Waits for the program to exit with 0, and returns its output. Kills it after `seconds`."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(TICK_SECONDS)
                    break
                on_tick()
                if time.monotonic() > deadline:
                    raise Failure(f"still running after {seconds:.0f} s:\n{self.last_output()}")
        finally:
            self.kill()
        if self._process.returncode != 0:
            raise Failure(f"exit code {self._process.returncode}:\n{self.last_output()}")
        return read(self._output)

    def address(self) -> str:
        """Waits until the program prints the address on which it listens, and returns it."""
        deadline = time.monotonic() + START_SECONDS
        while not (listening := LISTENING.search(read(self._output))):
            if self._process.poll() is not None:
                raise Failure(f"exited with {self._process.returncode} before it listened:\n{self.last_output()}")
            if time.monotonic() > deadline:
                raise Failure(f"not listening after {START_SECONDS} s:\n{self.last_output()}")
            time.sleep(0.02)
        return listening[1]

    def stop(self) -> None:
        """Sends SIGTERM, and waits for exit code 0."""
        self._process.send_signal(signal.SIGTERM)
        self.wait(STOP_SECONDS)

    def cpu_seconds(self) -> float | None:
        """Returns the CPU time used so far; None if the system does not report it."""
        try:
            after_name = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return None
        user, system = after_name[11:13]
        return (int(user) + int(system)) / CLOCK_TICKS

    def kill(self) -> None:
        """Kills the program and its children, if they are still running."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        Program.running.discard(self)

    def last_output(self) -> str:
        """Returns the command and the last lines of its output, for an error message."""
        output, errors = (read(file).splitlines()[-20:] for file in (self._output, self._errors))
        return "\n".join(["$ " + self.name, *output, *(["--- standard error"] if errors else []), *errors])


def run(
    command: Sequence[str | Path],
    seconds: float,
    on_tick: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program to its end, and returns its output."""
    return Program(command, environment).wait(seconds, on_tick)


def kill_all() -> None:
    for program in list(Program.running):
        program.kill()


def read(file: IO[bytes]) -> str:
    """Reads the whole file without moving its offset, which the writing program shares."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")
