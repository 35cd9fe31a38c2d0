"""D4 and D5, as the example clients keep them: servers end under them, and they go on without loss or duplicate."""

from conftest import Example, Server
from programs import Ended, Program

LINES_AT_ONCE = 150
KILLS = 3


def test_two_chats_outlive_their_server(restartable: Server, resuming_example: Example) -> None:
    go_on_through_restarts(restartable, {"ada": resuming_example, "bob": resuming_example})


def test_three_languages_outlive_their_server_in_one_room(
    restartable: Server, resuming_examples: dict[str, Example]
) -> None:
    go_on_through_restarts(restartable, resuming_examples)


def go_on_through_restarts(server: Server, users: dict[str, Example]) -> None:
    endings = [server.kill] * KILLS + [server.stop]
    typed = {user: [f"{user}-{i}" for i in range(2 * LINES_AT_ONCE * len(endings))] for user in users}
    in_all = sum(map(len, typed.values()))
    chats = {
        user: example.start("chat", "--room", "phoenix", "--user", user, "--expect", str(in_all))
        for user, example in users.items()
    }
    try:
        for chat in chats.values():
            chat.wait_for_error(lambda line: line == "ready")

        for restart, end in enumerate(endings):
            start = 2 * LINES_AT_ONCE * restart
            for user, chat in chats.items():
                chat.send_lines(typed[user][start : start + LINES_AT_ONCE])
            for user, chat in chats.items():
                # It has seen a line of its own, and most are still on their way.
                first = typed[user][start]
                chat.wait_for_output(lambda line, first=first: line.endswith(f": {first}"))
            end()
            for user, chat in chats.items():
                chat.send_lines(typed[user][start + LINES_AT_ONCE : start + 2 * LINES_AT_ONCE])
            server.start()
            for chat in chats.values():
                chat.wait_for_error(lambda line: line == "reconnected", times=restart + 1)

        ended = end_all(chats)
    finally:
        for chat in chats.values():
            chat.kill()

    for user, end_of_chat in ended.items():
        assert end_of_chat.exit_code == 0, f"{user}: {end_of_chat.errors}"
        assert not any(line.startswith("missing:") for line in end_of_chat.errors), end_of_chat.errors
    seen = next(iter(ended.values())).output
    for user, end_of_chat in ended.items():
        assert end_of_chat.output == seen, f"{user} saw something else"
    numbers = [int(line.split(" ", 1)[0]) for line in seen]
    assert numbers == sorted(set(numbers))
    said = [line.split(" ", 1)[1] for line in seen]
    assert len(said) == in_all
    for user, lines in typed.items():
        assert [line for line in said if line.startswith(f"{user}: ")] == [f"{user}: {line}" for line in lines]


def end_all(chats: dict[str, Program]) -> dict[str, Ended]:
    for chat in chats.values():
        chat.end_input()
    return {user: chat.wait() for user, chat in chats.items()}


def test_history_begins_with_what_was_said_before(example: Example) -> None:
    talk = example.start("chat", "--room", "annals", "--user", "ada")
    try:
        talk.send_lines([f"line {i}" for i in range(5)])
        talk.end_input()
        assert talk.wait().exit_code == 0
    finally:
        talk.kill()

    for history, expected in [("2", ["ada: line 3", "ada: line 4"]), ("0", [])]:
        reader = example.start("chat", "--room", "annals", "--user", "bob", "--history", history)
        try:
            reader.end_input()
            ended = reader.wait()
        finally:
            reader.kill()
        assert (ended.exit_code, ended.errors) == (0, ["ready"])
        assert [line.split(" ", 1)[1] for line in ended.output] == expected
