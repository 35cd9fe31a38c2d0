"""D1: all subscribers of a room see the same messages in the same order, whatever they are written in."""

from conftest import Example

MESSAGES_EACH = 200


def test_three_languages_share_one_room_and_see_the_same_order(all_examples: dict[str, Example]) -> None:
    texts = {language: [f"{language} says {i}" for i in range(MESSAGES_EACH)] for language in all_examples}
    expect = str(MESSAGES_EACH * len(all_examples))
    chats = {
        language: example.start("chat", "--room", "babel", "--user", language, "--expect", expect)
        for language, example in all_examples.items()
    }
    try:
        for chat in chats.values():
            chat.wait_for_error(lambda line: line == "ready")
        for language, chat in chats.items():
            chat.send_lines(texts[language])
            chat.end_input()
        ended = {language: chat.wait() for language, chat in chats.items()}
    finally:
        for chat in chats.values():
            chat.kill()

    for language, end in ended.items():
        assert (end.exit_code, end.errors) == (0, ["ready"]), f"{language}: {end.errors}"

    seen = ended["python"].output
    for language, end in ended.items():
        assert end.output == seen, f"{language} saw something else than Python"

    numbers = [int(line.split(" ", 1)[0]) for line in seen]
    assert numbers == sorted(set(numbers))
    spoken = [line.split(" ", 1)[1] for line in seen]
    for language, sent in texts.items():
        assert [said for said in spoken if said.startswith(f"{language}: ")] == [f"{language}: {text}" for text in sent]
    assert len(spoken) == len(set(spoken)) == MESSAGES_EACH * len(texts)
