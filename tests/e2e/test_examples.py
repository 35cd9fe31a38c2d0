"""Each example client does what its README says, in every language."""

from conftest import Example


def test_unary_goes_through_the_life_of_a_user(example: Example) -> None:
    ended = example.run("unary")
    assert (ended.exit_code, ended.errors) == (0, [])
    (created, user, name, email), got, updated, deleted = [line.split() for line in ended.output]
    assert created == "created" and email == f"{name}@example.com"
    assert got == ["got", user, name, email]
    assert updated == ["updated", user, name, f"{name}@example.org"]
    assert deleted == ["deleted", user]
    assert example.run("list").output == []


def test_bulk_creates_users_and_list_shows_them_in_that_order(example: Example) -> None:
    bulk = example.run("bulk", "ada", "grace", "linus")
    assert (bulk.exit_code, bulk.errors) == (0, [])
    *created, count = bulk.output
    assert [line.split()[2] for line in created] == ["ada", "grace", "linus"]
    assert count == "created 3 users"

    listed = example.run("list")
    assert (listed.exit_code, listed.errors) == (0, [])
    assert [f"created {line}" for line in listed.output] == created


def test_bulk_creates_nobody_when_one_is_not_valid(example: Example) -> None:
    ended = example.run("bulk", "ada", "")
    assert ended.exit_code == 1
    assert ended.output == []
    status, *details = ended.errors
    assert status.startswith("INVALID_ARGUMENT: ")
    assert any(line.startswith("  reason: ") for line in details), ended.errors
    assert any("username: " in line for line in details), ended.errors
    assert example.run("list").output == []


def test_an_unknown_id_is_an_error_that_a_person_can_read(example: Example) -> None:
    ended = example.run("get", "123")
    assert ended.exit_code == 1
    assert ended.output == []
    assert ended.errors[0].startswith("NOT_FOUND: ")
    assert any(line.startswith("  reason: ") for line in ended.errors[1:]), ended.errors


def test_chat_prints_what_it_sent_and_ends_with_the_input(example: Example) -> None:
    chat = example.start("chat", "--room", "news", "--user", "ada")
    try:
        chat.send_lines(["What news", "on the Rialto?"])
        chat.end_input()
        ended = chat.wait()
    finally:
        chat.kill()
    assert (ended.exit_code, ended.errors) == (0, ["ready"])
    first, second = [line.split(" ", 1) for line in ended.output]
    assert [first[1], second[1]] == ["ada: What news", "ada: on the Rialto?"]
    assert 0 < int(first[0]) < int(second[0])


def test_chat_says_in_one_line_why_a_message_was_rejected(example: Example) -> None:
    chat = example.start("chat", "--user", "ada")
    try:
        chat.send_lines(["before", "nul \0 inside", "after"])
        chat.end_input()
        ended = chat.wait()
    finally:
        chat.kill()
    assert ended.exit_code == 0, ended
    assert [line.split(" ", 1)[1] for line in ended.output] == ["ada: before", "ada: after"]
    ready, rejected = ended.errors
    assert ready == "ready"
    assert rejected.startswith("rejected: message 2: "), rejected


def test_chat_in_a_room_that_cannot_be_is_an_error_that_a_person_can_read(example: Example) -> None:
    chat = example.start("chat", "--room", "No Such Name", "--user", "ada")
    try:
        ended = chat.wait()  # The input stays open: the program ends because the call failed.
    finally:
        chat.kill()
    assert ended.exit_code == 1
    assert ended.output == []
    assert any(line.startswith("INVALID_ARGUMENT: ") for line in ended.errors), ended.errors
