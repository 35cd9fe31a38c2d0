"""Generates Python code from the definitions in proto/ into the ignored folder `generated` if it is missing or outdated, and imports it.

Other modules use `from stubs import user_pb2`. A project with a build step would generate the code there instead.
"""

import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
DEFINITIONS = ("user.proto", "rialto/v1/auth.proto")
GENERATED = HERE / "generated"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
# A module's path is its package: `rialto/v1/auth_pb2.py` imports `user_pb2` from the root.
MODULES = {definition.removesuffix(".proto") + suffix: definition for definition in DEFINITIONS for suffix in SUFFIXES}


def _up_to_date() -> bool:
    return all(
        (GENERATED / module).exists() and (GENERATED / module).stat().st_mtime >= (PROTO / definition).stat().st_mtime
        for module, definition in MODULES.items()
    )


def _generate() -> None:
    GENERATED.mkdir(exist_ok=True)
    # Generated in a temporary folder and moved, so that a program that starts meanwhile never reads an incomplete file.
    with tempfile.TemporaryDirectory(dir=GENERATED) as aside:
        well_known_types = files("grpc_tools") / "_proto"
        failed = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTO}",
                f"--proto_path={well_known_types}",
                f"--python_out={aside}",
                f"--pyi_out={aside}",
                f"--grpc_python_out={aside}",
                *DEFINITIONS,
            ]
        )
        if failed:
            raise RuntimeError(f"cannot generate code from {PROTO}")
        for module in MODULES:
            place = GENERATED / module
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(aside) / module, place)


if not _up_to_date():
    _generate()
sys.path.append(str(GENERATED))

import user_pb2  # noqa: E402, F401
import user_pb2_grpc  # noqa: E402, F401
from rialto.v1 import auth_pb2, auth_pb2_grpc  # noqa: E402, F401
