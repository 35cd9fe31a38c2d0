"""Generates Python code from proto/user.proto, into the ignored folder `generated`, when it is not there yet, and imports it.

The others say `from stubs import user_pb2`. A project with a build step would generate there instead.
"""

import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto" / "user.proto"
GENERATED = HERE / "generated"
MODULES = ("user_pb2.py", "user_pb2.pyi", "user_pb2_grpc.py")


def _up_to_date() -> bool:
    made = [GENERATED / name for name in MODULES]
    return all(file.exists() and file.stat().st_mtime >= PROTO.stat().st_mtime for file in made)


def _generate() -> None:
    GENERATED.mkdir(exist_ok=True)
    # Made aside and moved into place, so that a second program that starts now never reads half a file.
    with tempfile.TemporaryDirectory(dir=GENERATED) as aside:
        well_known_types = files("grpc_tools") / "_proto"
        failed = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTO.parent}",
                f"--proto_path={well_known_types}",
                f"--python_out={aside}",
                f"--pyi_out={aside}",
                f"--grpc_python_out={aside}",
                PROTO.name,
            ]
        )
        if failed:
            raise RuntimeError(f"cannot generate code from {PROTO}")
        for name in MODULES:
            os.replace(Path(aside) / name, GENERATED / name)


if not _up_to_date():
    _generate()
sys.path.append(str(GENERATED))

import user_pb2  # noqa: E402, F401
import user_pb2_grpc  # noqa: E402, F401
