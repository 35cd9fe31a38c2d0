"""Clients that know only the original definition, as every release must serve them: unchanged, and to their end."""

import os
import sys
from pathlib import Path

import pytest
from programs import Ended, run

HERE = Path(__file__).resolve().parent
CLIENTS = HERE / "original"
DEFINITION = HERE.parent / "original" / "user.proto"
NODE_MODULES = HERE.parents[1] / "examples" / "node" / "node_modules"


@pytest.fixture
def original_stubs(tmp_path: Path) -> Path:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={DEFINITION.parent}"]
    ended = run([*protoc, f"--python_out={stubs}", f"--grpc_python_out={stubs}", DEFINITION.name])
    assert ended.exit_code == 0, ended.errors
    return stubs


def test_original_clients_in_python_are_served_unchanged(server: str, original_stubs: Path) -> None:
    ended = run([sys.executable, CLIENTS / "client.py", server], environment={"PYTHONPATH": str(original_stubs)})
    assert_everything_succeeded(ended)


def test_original_clients_in_node_are_served_unchanged(server: str) -> None:
    ended = run(["node", CLIENTS / "client.js", server, DEFINITION], environment={"NODE_PATH": os.fspath(NODE_MODULES)})
    assert_everything_succeeded(ended)


def assert_everything_succeeded(ended: Ended) -> None:
    assert ended.exit_code == 0, ended
    assert [line for line in ended.output if line.startswith("Error")] == ["Error: NOT_FOUND"]
    assert "Created 5 users" in ended.output
    # Node has its calls under way at the same time: the list may already hold the five, but nobody else.
    users = [line for line in ended.output if line.startswith("User: ")]
    assert users == [f"User: user{i}" for i in range(5)][: len(users)]
    received = [line for line in ended.output if line.startswith("Received: ")]
    assert received == [f"Received: Message {i}" for i in range(5)]
    assert ended.output.count("Chat ended") == 1
