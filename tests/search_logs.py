"""Searches what the servers of the tests have logged for tokens, passwords and texts of messages: there must be none.

    python3 tests/search_logs.py FOLDER

In FOLDER the tests leave `*.log`, and in `*.texts` what was said, a line each (tests/support/logs.rs).
"""

import re
import sys
from pathlib import Path

# Every password, secret and private text of the tests is a canary; tokens have their own looks.
SECRETS = re.compile(r"canary|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+|rialto_rt_\w|\$argon2id\$|PRIVATE KEY")

# A log that says nothing has nothing to hide: with less than this, something is wrong with the search.
FEWEST_LINES = 1_000


def found_in(line: str, texts: re.Pattern[str] | None) -> str | None:
    for pattern in (SECRETS, texts):
        if pattern and (match := pattern.search(line)):
            return match[0]
    return None


def any_of(texts: set[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, sorted(texts)))) if texts else None


def check_the_search() -> None:
    texts = any_of({"what news on the Rialto?"})
    for line in ("x canary-7", "Bearer eyJhbGciOiJFZERTQSJ9.e30.sig", "rialto_rt_AbC", "what news on the Rialto?"):
        assert found_in(f'{{"message":"{line}"}}', texts), line
    assert not found_in('{"message":"connection ended","peer":"127.0.0.1:1"}', texts)


def main(folder: Path) -> int:
    check_the_search()
    texts = any_of({text for file in folder.glob("*.texts") for text in file.read_text().splitlines()})
    lines = 0
    for file in sorted(folder.glob("*.log")):
        with file.open(errors="replace") as log:
            for line in log:
                lines += 1
                if secret := found_in(line, texts):
                    print(f"{file.name}: {secret!r} was logged:\n  {line.strip()[:500]}", file=sys.stderr)
                    return 1
    if lines < FEWEST_LINES or not texts:
        print(f"{folder}: only {lines} lines, or no texts: did the tests run?", file=sys.stderr)
        return 1
    print(f"{lines} lines of log, without a token, a password or the text of a message")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
