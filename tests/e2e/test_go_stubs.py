"""The Go code that is kept in the repository is the one that the proto yields."""

import sys
from pathlib import Path

from programs import run

GO = Path(__file__).resolve().parents[2] / "examples" / "go"


def test_the_generated_go_stubs_are_current(tmp_path: Path) -> None:
    ended = run([GO / "generate", tmp_path], environment={"PYTHON": sys.executable})
    assert ended.exit_code == 0, ended.errors
    assert contents(tmp_path) == contents(GO / "userpb"), "run examples/go/generate and keep what it makes"


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}
