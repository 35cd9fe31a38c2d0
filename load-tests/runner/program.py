"""Runs programs so that none outlives the run: each has a deadline, and a process group that ends with it."""

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

from runner.place import REPOSITORY

LISTENING = re.compile(r"^listening on http://(127\.0\.0\.1:\d+)$", re.MULTILINE)
START_SECONDS = 60
STOP_SECONDS = 60
TICK_SECONDS = 0.5
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# A proxy of the machine that runs the tests must not stand between a client and a server on loopback.
LOOPBACK = {"NO_PROXY": "*", "no_proxy": "*", "no_grpc_proxy": "127.0.0.1,localhost"}


class Failure(Exception):
    """Something that the reader of the run's output should know, and that makes it fail."""


class Program:
    """A program that is running. Its output goes to files, which nobody has to read for it to go on."""

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
            raise Failure(f"{command[0]} cannot be started: {error}") from None
        Program.running.add(self)

    def wait(self, seconds: float, on_tick: Callable[[], None] = lambda: None) -> str:
        """Waits for its end, which must be a good one, and returns what it printed."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(TICK_SECONDS)
                    break
                on_tick()
                if time.monotonic() > deadline:
                    raise Failure(f"has not ended after {seconds:.0f} s:\n{self.story()}")
        finally:
            self.kill()
        if self._process.returncode != 0:
            raise Failure(f"exit code {self._process.returncode}:\n{self.story()}")
        return read(self._output)

    def address(self) -> str:
        """Waits until it says where it listens."""
        deadline = time.monotonic() + START_SECONDS
        while not (listening := LISTENING.search(read(self._output))):
            if self._process.poll() is not None:
                raise Failure(f"ended with exit code {self._process.returncode} instead of listening:\n{self.story()}")
            if time.monotonic() > deadline:
                raise Failure(f"does not listen after {START_SECONDS} s:\n{self.story()}")
            time.sleep(0.02)
        return listening[1]

    def stop(self) -> None:
        """Asks it to end. It must do so with exit code 0."""
        self._process.send_signal(signal.SIGTERM)
        self.wait(STOP_SECONDS)

    def cpu_seconds(self) -> float | None:
        """How long it has kept cores busy, where the system tells."""
        try:
            after_name = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return None
        user, system = after_name[11:13]
        return (int(user) + int(system)) / CLOCK_TICKS

    def kill(self) -> None:
        """Ends it and whatever it has started; does nothing about what has ended already."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        Program.running.discard(self)

    def story(self) -> str:
        """The program and the end of what it printed, for a message."""
        output, errors = (read(file).splitlines()[-20:] for file in (self._output, self._errors))
        return "\n".join(["$ " + self.name, *output, *(["--- errors"] if errors else []), *errors])


def run(
    command: Sequence[str | Path],
    seconds: float,
    on_tick: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a program to its end, and returns what it printed."""
    return Program(command, environment).wait(seconds, on_tick)


def kill_all() -> None:
    for program in list(Program.running):
        program.kill()


def read(file: IO[bytes]) -> str:
    """The whole file. Reads by position: a program writes by the same description, whose place must stay at the end."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")
