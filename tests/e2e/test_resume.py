"""D4 and D5, as the example clients keep them: servers end under them, and they go on without loss or duplicate."""

from pathlib import Path

from conftest import Example, Server
from hub_that_refuses import PUBLISHED_BEFORE, HubThatRefuses
from programs import Ended, Program
from proxy import Proxy

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
    typed = {user: [f"{user} says {i}" for i in range(2 * LINES_AT_ONCE * len(endings))] for user in users}
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


def test_what_was_sent_but_never_arrived_is_sent_again(example: Example) -> None:
    with Proxy(example.server) as proxy:
        chat = example.on(proxy.address).start("chat", "--user", "ada")
        try:
            chat.wait_for_error(lambda line: line == "ready")
            proxy.swallow("requests")
            chat.send_lines([f"line {i}" for i in range(100)])
            proxy.wait_for_swallowed(b"line 99")
            proxy.cut()
            chat.send_lines(["the last line"])
            chat.end_input()
            ended = chat.wait()
        finally:
            chat.kill()
    assert ended.exit_code == 0, ended
    assert texts(ended) == [f"ada: line {i}" for i in range(100)] + ["ada: the last line"]


def test_what_was_published_but_not_answered_is_shown_once(example: Example) -> None:
    with Proxy(example.server) as proxy:
        witness = example.start("chat", "--user", "witness", "--expect", "101")
        chat = example.on(proxy.address).start("chat", "--user", "ada")
        try:
            for each in (witness, chat):
                each.wait_for_error(lambda line: line == "ready")
            proxy.swallow("answers")
            chat.send_lines([f"line {i}" for i in range(100)])
            witness.wait_for_output(lambda line: line.endswith("line 99"))
            proxy.cut()
            chat.send_lines(["the last line"])
            ended = end_all({"ada": chat, "witness": witness})
        finally:
            witness.kill()
            chat.kill()
    assert [end.exit_code for end in ended.values()] == [0, 0], ended
    assert texts(ended["ada"]) == [f"ada: line {i}" for i in range(100)] + ["ada: the last line"]
    assert ended["witness"].output == ended["ada"].output


def test_another_log_is_told_as_a_gap_and_followed_from_there(
    restartable: Server, resuming_example: Example, tmp_path: Path
) -> None:
    first, second = restartable.data, tmp_path / "second"

    def serve(data: Path) -> None:
        restartable.kill()
        restartable.data = data
        restartable.start()

    def say(*lines: str) -> None:
        talk = resuming_example.start("chat", "--user", "eve")
        try:
            talk.send_lines(lines)
            talk.end_input()
            assert talk.wait().exit_code == 0
        finally:
            talk.kill()

    serve(second)
    say("one", "two")
    serve(first)
    chat = resuming_example.start("chat", "--user", "ada")
    try:
        chat.wait_for_error(lambda line: line == "ready")
        say("one", "two", "three", "four")
        chat.wait_for_output(lambda line: line.endswith("four"))
        serve(second)
        chat.wait_for_error(lambda line: line == "missing: messages 1 to 2")
        chat.send_lines(["three, in the other log"])
        chat.wait_for_output(lambda line: line == "3 ada: three, in the other log")
        serve(tmp_path / "empty")
        chat.send_lines(["one, in an empty log"])
        chat.end_input()
        ended = chat.wait()
    finally:
        chat.kill()
    assert ended.exit_code == 0, ended
    first_log = ["1 eve: one", "2 eve: two", "3 eve: three", "4 eve: four"]
    assert ended.output == [*first_log, "3 ada: three, in the other log", "1 ada: one, in an empty log"]


def test_a_message_that_may_be_sent_again_later_is_sent_again(example: Example) -> None:
    with HubThatRefuses() as hub:
        chat = example.on(hub.address).start("chat", "--user", "ada")
        try:
            chat.send_lines([PUBLISHED_BEFORE, "now or later"])
            chat.end_input()
            ended = chat.wait()
        finally:
            chat.kill()
    assert ended.exit_code == 0, ended
    # The hub delivers it twice, and of the other line it says only that it was published before.
    assert ended.output == ["1 ada: now or later"]
    *connecting, ready, rejected = ended.errors
    assert len(connecting) == 2 and connecting[0].startswith("not connected: RESOURCE_EXHAUSTED: "), ended.errors
    assert connecting[1].startswith("not connected: UNAVAILABLE: "), ended.errors
    assert (ready, rejected.split(":")[:2]) == ("ready", ["rejected", " message 2"])


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
        assert texts(ended) == expected


def texts(ended: Ended) -> list[str]:
    return [line.split(" ", 1)[1] for line in ended.output]
