"""Runs programs as a user would: with arguments, standard input and an end that is waited for, never for ever."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

DEADLINE_SECONDS = 60

# A proxy of the machine that runs the tests must not stand between a client and a server on loopback. For clients in the tests, too.
os.environ.update({"NO_PROXY": "*", "no_proxy": "*", "no_grpc_proxy": "127.0.0.1,localhost"})

# What tests have typed, without the numbers at the end: the texts of messages, by which a log is searched for them. Short ones could be
# in it by chance.
typed: set[str] = set()
SHORTEST_TEXT = 8


@dataclass(frozen=True)
class Ended:
    """How a program ended, and the lines that it printed."""

    exit_code: int
    output: list[str]
    errors: list[str]


def run(command: Sequence[str | Path], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs a program that needs no input, to its end."""
    program = Program(command, cwd, environment)
    try:
        program.end_input()
        return program.wait()
    finally:
        program.kill()


class Program:
    """A program that is running. Its output is read all the time, so that it never waits for us."""

    def __init__(
        self, command: Sequence[str | Path], cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = " ".join(str(part) for part in command)
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._news = threading.Condition()
        self._output: list[str] = []
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._collect, args=(self._process.stdout, self._output), daemon=True),
            threading.Thread(target=self._collect, args=(self._process.stderr, self._errors), daemon=True),
        ]
        self._reading = len(self._readers)
        for reader in self._readers:
            reader.start()

    def send_lines(self, lines: Sequence[str]) -> None:
        assert self._process.stdin
        texts = {line.rstrip("0123456789") for line in lines}
        typed.update(text for text in texts if len(text) >= SHORTEST_TEXT)
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()

    def end_input(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()

    def wait_for_output(self, matches: Callable[[str], bool], times: int = 1) -> str:
        return self._wait_for_line(self._output, matches, times)

    def wait_for_error(self, matches: Callable[[str], bool], times: int = 1) -> str:
        return self._wait_for_line(self._errors, matches, times)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> Ended:
        """Waits for the program's own end."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        try:
            exit_code = self._process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"has not ended after {DEADLINE_SECONDS} s:\n{self.story()}") from None
        for reader in self._readers:
            reader.join(max(0, deadline - time.monotonic()))
        return Ended(exit_code, list(self._output), list(self._errors))

    def kill(self) -> None:
        """Ends the program if it is still there; otherwise does nothing."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(DEADLINE_SECONDS)

    def story(self) -> str:
        """The program and the end of what it printed, for the message of a failed test."""
        return "\n".join(["$ " + self.name, "--- output", *self._output[-20:], "--- errors", *self._errors[-20:]])

    def _collect(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._reading -= 1
            self._news.notify_all()

    def _wait_for_line(self, lines: list[str], matches: Callable[[str], bool], times: int) -> str:
        """Returns the line with which so many match."""

        def found() -> list[str]:
            return [line for line in lines if matches(line)]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= times or self._reading == 0, DEADLINE_SECONDS)
            if len(found()) >= times:
                return found()[times - 1]
        raise AssertionError(f"the line that was waited for did not come:\n{self.story()}")
