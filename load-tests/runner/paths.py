"""Paths in the repository."""

import os
from pathlib import Path

LOAD_TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = LOAD_TESTS.parent
RESULTS = LOAD_TESTS / "results"

# Cargo's output, and the data of a run: the temporary folder of many systems is in memory, where a sync costs nothing
# and a durable hub would look faster than it is.
TARGET = (REPOSITORY / os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
