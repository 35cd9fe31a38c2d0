"""The real server, started anew for every test that asks for it, and the example clients."""

import contextlib
import dataclasses
import os
import random
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import Ended, Program, run, typed

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LISTENING = re.compile(r"listening on https?://(127\.0\.0\.1:\d+)")

# What tokens begin with: a JWT with what `{"` becomes in Base64, a refresh token with a mark of its own.
TOKENS = {"eyJ", "rialto_rt_"}
PASSWORD = "battery staple"
WRONG_PASSWORD = "battery stable"
# The last is what `unary` gives its user.
PASSWORDS = {PASSWORD, WRONG_PASSWORD, "correct horse"}

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
    """A server that can be ended and started again on the same port; then also on other data, or with other arguments."""

    def __init__(self, binary: Path, data: Path, port: int = 0, arguments: Sequence[str | Path] = ()) -> None:
        self._binary = binary
        self.data = data
        self.arguments = arguments
        self.address = f"127.0.0.1:{port}"
        self._programs: list[Program] = []
        self.start()

    def start(self) -> None:
        command = [self._binary, "serve", "--listen", self.address, "--data", self.data, *self.arguments]
        self._program = Program(command, environment={"RIALTO_LOGGING__FILTER": "debug"})
        self._programs.append(self._program)
        line = self._program.wait_for_output(lambda _: True)
        listening = LISTENING.fullmatch(line)
        assert listening, f"the first line does not say where the server listens:\n{self._program.story()}"
        self.address = listening[1]

    def tell(self, verb: str, *arguments: str) -> Ended:
        """Runs another verb on the same data."""
        return run([self._binary, verb, "--data", self.data, *arguments])

    def kill(self) -> None:
        self._program.kill()

    def stop(self) -> None:
        """It must end by SIGTERM with exit code 0."""
        self._program.terminate()
        ended = self._program.wait()
        assert ended.exit_code == 0, f"exit code {ended.exit_code}:\n{self._program.story()}"

    def assert_it_kept_secrets(self) -> None:
        """What it printed until it ended, at every start, has no token, password or text of a message."""
        for program in self._programs:
            ended = program.wait()
            printed = "\n".join([*ended.output, *ended.errors])
            told = [secret for secret in TOKENS | PASSWORDS | typed if secret in printed]
            assert not told, [line for line in printed.splitlines() if any(secret in line for secret in told)][:5]


@contextlib.contextmanager
def served(server: Server) -> Iterator[Server]:
    """Whatever the test did, the server ends well and has kept secrets."""
    try:
        yield server
        server.stop()
        server.assert_it_kept_secrets()
    finally:
        server.kill()


@pytest.fixture
def restartable(binary: Path, tmp_path: Path) -> Iterator[Server]:
    """A server with fresh data, on a port that stays free while it is away."""
    with served(Server(binary, tmp_path / "data", free_port())) as server:
        yield server


@pytest.fixture
def server(binary: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server with fresh data."""
    with served(Server(binary, tmp_path / "data")) as server:
        yield server.address


def free_port() -> int:
    """Below those that systems give to outgoing connections: a client that tries again would in the end get it, and talk to itself."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Example:
    """The example client of one language, with the server that it talks to, and how."""

    command: list[str]
    server: str
    options: Sequence[str | Path] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def run(self, *arguments: str) -> Ended:
        return run(self._with(arguments), environment=self.environment)

    def start(self, *arguments: str) -> Program:
        return Program(self._with(arguments), environment=self.environment)

    def on(self, server: str) -> "Example":
        return dataclasses.replace(self, server=server)

    def _with(self, arguments: Sequence[str]) -> list[str | Path]:
        return [*self.command, "--server", self.server, *self.options, *arguments]


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
