"""Searches what the servers of the tests have logged for tokens, passwords and texts of messages: there must be none.

    python3 tests/search_logs.py FOLDER

In FOLDER the tests leave `*.log`, and in `*.texts` what was said, a line each (tests/support/logs.rs).
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

# Every password, secret and private text of the tests is a canary; tokens have their own looks.
SECRETS = re.compile(r"canary|eyJ[\w-]{8,}\.[\w-]+|rialto_rt_\w|\$argon2id\$|PRIVATE KEY")

# A log that says nothing has nothing to hide: with less than this, something is wrong with the search.
FEWEST_LINES = 1_000

# Texts are looked for by their beginning: there are many, and each place of each line is looked up once.
BEGINNING = 12


class Search:
    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: dict[str, list[str]] = {}
        for text in texts:
            self._texts.setdefault(text[:BEGINNING], []).append(text)

    def found_in(self, line: str) -> str | None:
        if match := SECRETS.search(line):
            return match[0]
        for start in range(len(line) - BEGINNING + 1):
            for text in self._texts.get(line[start : start + BEGINNING], ()):
                if line.startswith(text, start):
                    return text
        return None


def check_the_search() -> None:
    search = Search(["what news on the Rialto?", "what news on the Rialto today?"])
    for line in ("x canary-7", "Bearer eyJhbGciOiJFZERTQSJ9.e30.sig", "rialto_rt_AbC", "what news on the Rialto today?"):
        assert search.found_in(f'{{"message":"{line}"}}'), line
    assert not search.found_in('{"message":"what news on the other side"}')


def main(folder: Path) -> int:
    check_the_search()
    texts = {text for file in folder.glob("*.texts") for text in file.read_text().splitlines()}
    search = Search(texts)
    lines = 0
    for file in sorted(folder.glob("*.log")):
        with file.open(errors="replace") as log:
            for line in log:
                lines += 1
                if secret := search.found_in(line):
                    print(f"{file.name}: {secret!r} was logged:\n  {line.strip()[:500]}", file=sys.stderr)
                    return 1
    if lines < FEWEST_LINES or not texts:
        print(f"{folder}: {lines} lines, {len(texts)} texts: did the tests run?", file=sys.stderr)
        return 1
    print(f"{lines} lines of log, and in none a token, a password, or one of {len(texts)} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
