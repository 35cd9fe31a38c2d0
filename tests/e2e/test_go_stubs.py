"""The Go code that is kept in the repository is the one that the definitions yield."""

import sys
from pathlib import Path

from programs import run

GO = Path(__file__).resolve().parents[2] / "examples" / "go"


PACKAGES = ("userpb", "authpb")


def test_the_generated_go_stubs_are_current(tmp_path: Path) -> None:
    ended = run([GO / "generate", tmp_path], environment={"PYTHON": sys.executable})
    assert ended.exit_code == 0, ended.errors
    assert contents(tmp_path) == contents(GO), "run examples/go/generate and keep what it makes"


def contents(folder: Path) -> dict[Path, str]:
    return {file.relative_to(folder): file.read_text() for package in PACKAGES for file in (folder / package).iterdir()}
