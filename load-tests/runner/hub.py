"""A hub with fresh data."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runner.program import Failure, Program, run

SEED_SECONDS = 60


@dataclass(frozen=True)
class Stored:
    """Row counts of a data file."""

    users: int
    messages: int


class Hub:
    def __init__(self, rialto: Path, data: Path) -> None:
        self._rialto = rialto
        self._data = data
        self.program = Program([rialto, "serve", "--listen", "127.0.0.1:0", "--data", data])
        self.address = self.program.address()

    def user_ids(self) -> list[str]:
        listed = run([self._rialto, "users", "list", "--json", "--server", f"http://{self.address}"], SEED_SECONDS)
        ids = [json.loads(line)["id"] for line in listed.splitlines()]
        if not ids:
            raise Failure("there are no users after seeding")
        return ids

    def stop(self) -> Stored:
        """Stops the hub and counts what it has stored: a call may end with OK although its messages were rejected."""
        self.program.stop()
        with closing(sqlite3.connect(f"file:{self._data / 'rialto.db'}?mode=ro", uri=True)) as log:
            users, messages = (
                log.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("users", "messages")
            )
        return Stored(users, messages)
