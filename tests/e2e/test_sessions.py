"""A session of the example clients: when they ask for which token, and that they use none twice."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from auth import Session
from connection import connect
from conftest import EXAMPLES, PASSWORD, Example
from hub_that_forgets import FORGET_SESSION, FORGET_TOKEN, HubThatForgets
from programs import run

GO = Path(__file__).resolve().parents[2] / "examples" / "go"
CALLS_AT_ONCE = 20


@pytest.fixture(params=list(EXAMPLES))
def logged_in(request: pytest.FixtureRequest) -> Example:
    """On a server that the test chooses."""
    return Example(EXAMPLES[request.param], "", ["--login", "ada"], {"RIALTO_PASSWORD": PASSWORD})


def test_a_session_lasts_as_long_as_the_program(logged_in: Example) -> None:
    with HubThatForgets() as hub:
        chat(logged_in.on(hub.address), "one line")
        assert hub.calls == ["Login", "Chat", "Logout"]


def test_a_stream_is_sent_the_next_token_before_its_own_expires(logged_in: Example) -> None:
    with HubThatForgets(life_of_first=1.5) as hub:
        program = logged_in.on(hub.address).start("chat")
        try:
            hub.wait_for("refresh_token")
            program.end_input()
            ended = program.wait()
        finally:
            program.kill()
        assert (ended.exit_code, ended.errors) == (0, ["ready"]), ended
        assert hub.calls == ["Login", "Chat", "Refresh", "refresh_token", "Logout"]


def test_a_stream_whose_token_has_expired_is_followed_by_one_with_the_next(logged_in: Example) -> None:
    with HubThatForgets() as hub:
        chat(logged_in.on(hub.address), "before", FORGET_TOKEN, "after")
        assert hub.calls == ["Login", "Chat", "Refresh", "Chat", "Logout"]


def test_when_its_session_has_ended_it_logs_in_again(logged_in: Example) -> None:
    with HubThatForgets() as hub:
        chat(logged_in.on(hub.address), "before", FORGET_SESSION, "after")
        assert hub.calls == ["Login", "Chat", "Refresh", "Login", "Chat", "Logout"]


def chat(example: Example, *lines: str) -> None:
    program = example.start("chat")
    try:
        program.send_lines(lines)
        program.end_input()
        ended = program.wait()
    finally:
        program.kill()
    assert ended.exit_code == 0, ended
    assert ended.output == [f"{seq} : {line}" for seq, line in enumerate(lines, 1)]


def test_many_calls_wait_for_one_refresh_in_python() -> None:
    with HubThatForgets(life_of_first=0.0) as hub, connect(hub.address) as channel:
        session = Session(channel, "ada", PASSWORD)
        first = session.access()
        with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
            tokens = set(threads.map(lambda _: session.access(), range(CALLS_AT_ONCE)))
        assert len(tokens) == 1 and first not in tokens
        assert hub.calls == ["Login", "Refresh"]


def test_many_calls_wait_for_one_refresh_in_node() -> None:
    with HubThatForgets(life_of_first=0.0) as hub:
        ended = run(["node", Path(__file__).with_name("many_calls.mjs"), hub.address, str(CALLS_AT_ONCE)])
        assert (ended.exit_code, ended.errors) == (0, []), ended
        assert hub.calls == ["Login", "Refresh"]


def test_many_calls_wait_for_one_refresh_in_go() -> None:
    ended = run(["go", "test", "-C", GO, "."])
    assert ended.exit_code == 0, ended
