"""The real server, started anew for every test that asks for it, and the example clients."""

import os
import re
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


@pytest.fixture
def server(binary: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server with fresh data. It must end by SIGTERM with exit code 0."""
    program = Program([binary, "serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"])
    try:
        line = program.wait_for_output(lambda _: True)
        listening = LISTENING.fullmatch(line)
        assert listening, f"the first line does not say where the server listens:\n{program.story()}"
        yield listening[1]
        program.terminate()
        ended = program.wait()
        assert ended.exit_code == 0, f"exit code {ended.exit_code}:\n{program.story()}"
    finally:
        program.kill()


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
