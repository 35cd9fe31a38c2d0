"""The real server, started anew for every test that asks for it, and the example clients."""

import contextlib
import os
import random
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import Ended, Program, run

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LISTENING = re.compile(r"listening on http://(127\.0\.0\.1:\d+)")

EXAMPLES: dict[str, list[str]] = {
    "python": [str(REPOSITORY / ".venv/bin/python"), str(REPOSITORY / "examples/python/main.py")],
    "node": ["node", str(REPOSITORY / "examples/node/main.js")],
    "go": [str(HERE / ".bin/rialto-example")],
}


@pytest.fixture(scope="session")
def binary() -> Path:
    path = Path(os.environ.get("RIALTO_BIN", REPOSITORY / "target/ci/rialto")).resolve()
    if not path.exists():
        pytest.exit(f"there is no server at {path}: build it, or name it by RIALTO_BIN", returncode=2)
    return path


class Server:
    """A server that can be ended and started again on the same port, and on the same data unless another folder is set."""

    def __init__(self, binary: Path, data: Path, port: int = 0) -> None:
        self._binary = binary
        self.data = data
        self.address = f"127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        self._program = Program([self._binary, "serve", "--listen", self.address, "--data", self.data])
        line = self._program.wait_for_output(lambda _: True)
        listening = LISTENING.fullmatch(line)
        assert listening, f"the first line does not say where the server listens:\n{self._program.story()}"
        self.address = listening[1]

    def kill(self) -> None:
        self._program.kill()

    def stop(self) -> None:
        """It must end by SIGTERM with exit code 0."""
        self._program.terminate()
        ended = self._program.wait()
        assert ended.exit_code == 0, f"exit code {ended.exit_code}:\n{self._program.story()}"


@pytest.fixture
def restartable(binary: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with fresh data, on a port that stays free while it is away."""
    server = Server(binary, tmp_path / "data", free_port())
    try:
        yield server
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def server(binary: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server with fresh data."""
    server = Server(binary, tmp_path / "data")
    try:
        yield server.address
        server.stop()
    finally:
        server.kill()


def free_port() -> int:
    """Below those that systems give to outgoing connections: a client that tries again would in the end get it, and talk to itself."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Example:
    """The example client of one language, with the server that it talks to."""

    command: list[str]
    server: str

    def run(self, *arguments: str) -> Ended:
        return run(self._with(arguments))

    def start(self, *arguments: str) -> Program:
        return Program(self._with(arguments))

    def _with(self, arguments: tuple[str, ...]) -> list[str]:
        return [*self.command, "--server", self.server, *arguments]


@pytest.fixture(params=list(EXAMPLES))
def example(request: pytest.FixtureRequest, server: str) -> Example:
    return Example(EXAMPLES[request.param], server)


@pytest.fixture
def all_examples(server: str) -> dict[str, Example]:
    return {language: Example(command, server) for language, command in EXAMPLES.items()}


@pytest.fixture(params=list(EXAMPLES))
def resuming_example(request: pytest.FixtureRequest, restartable: Server) -> Example:
    return Example(EXAMPLES[request.param], restartable.address)


@pytest.fixture
def resuming_examples(restartable: Server) -> dict[str, Example]:
    return {language: Example(command, restartable.address) for language, command in EXAMPLES.items()}
