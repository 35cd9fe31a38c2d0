"""Who belongs gets in, and nobody else: TLS, client certificates and tokens, as the example clients speak them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import EXAMPLES, WRONG_PASSWORD, Example
from guarded import ADMIN, Certificates, Guarded, guard
from programs import Ended
from test_resume import go_on_through_restarts

# Of access tokens, so that they have to be renewed while a test looks.
SHORT_LIFE = "auth.access_token_seconds=3"
NO_RATES = ("rates.messages_per_second_per_caller=0", "rates.messages_per_second_per_address=0")


@pytest.fixture(params=list(EXAMPLES))
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def guarded(binary: Path, tmp_path: Path) -> Iterator[Guarded]:
    with guard(binary, tmp_path) as guarded:
        yield guarded


def test_an_admin_manages_users_by_a_login_or_a_token(guarded: Guarded, language: str) -> None:
    for admin in [guarded.user(language, name=ADMIN), guarded.bearer(language, guarded.operators_token())]:
        unary = admin.run("unary")
        assert (unary.exit_code, unary.errors) == (0, []), unary
        assert [line.split()[0] for line in unary.output] == ["created", "got", "updated", "deleted"]


def test_a_plain_user_reads_but_creates_nobody(guarded: Guarded, language: str) -> None:
    user = guarded.user(language)
    listed = user.run("list")
    assert (listed.exit_code, listed.errors) == (0, []), listed
    assert [line.split()[:2] for line in listed.output] == [[id, name] for name, id in guarded.ids.items()]
    for command in (["unary"], ["bulk", "ada", "bob"]):
        assert_refused(user.run(*command), "PERMISSION_DENIED", "NOT_ALLOWED")
    assert user.run("list").output == listed.output


def test_a_wrong_password_and_an_unknown_name_are_refused_alike(guarded: Guarded, language: str) -> None:
    wrong = guarded.user(language, password=WRONG_PASSWORD)
    assert_refused(wrong.run("list"), "UNAUTHENTICATED", "LOGIN_FAILED")
    assert wrong.run("list") == guarded.user(language, name="somebody").run("list")
    assert_refused(wrong.run("chat"), "UNAUTHENTICATED", "LOGIN_FAILED")


def test_without_a_token_nothing_is_served(guarded: Guarded, language: str) -> None:
    nobody = guarded.nobody(language)
    for command in (["list"], ["unary"], ["bulk", "ada"], ["chat", "--user", "ada"]):
        assert_refused(nobody.run(*command), "UNAUTHENTICATED", "TOKEN_MISSING")
    assert_refused(guarded.bearer(language, "nonsense").run("list"), "UNAUTHENTICATED", "TOKEN_INVALID")


def test_nobody_speaks_as_somebody_else(guarded: Guarded, language: str) -> None:
    chat = ["chat", "--user", guarded.ids[ADMIN]]
    assert_refused(guarded.user(language).run(*chat), "PERMISSION_DENIED", "USER_ID_MISMATCH")


@pytest.mark.parametrize("sessions", ["go on", "end too"])
def test_three_languages_chat_on_past_the_expiry_of_their_tokens(binary: Path, tmp_path: Path, sessions: str) -> None:
    settings = [SHORT_LIFE, *(["auth.refresh_token_seconds=1"] if sessions == "end too" else [])]
    with guard(binary, tmp_path, *settings) as guarded:
        lines = [[f"{language} speaks {when}" for language in EXAMPLES] for when in ("early", "late")]
        expect = str(sum(map(len, lines)))
        chats = {language: guarded.user(language).start("chat", "--expect", expect) for language in EXAMPLES}
        try:
            for chat in chats.values():
                chat.wait_for_error(lambda line: line == "ready")
            # Its token is younger than those of the others, and nothing renews it.
            with_one_token = guarded.bearer("python", guarded.access_token(ADMIN)).start("chat")
            try:
                for chat, line in zip(chats.values(), lines[0], strict=True):
                    chat.send_lines([line])
                expired = with_one_token.wait()
            finally:
                with_one_token.kill()
            for chat, line in zip(chats.values(), lines[1], strict=True):
                chat.send_lines([line])
                chat.end_input()
            ended = {language: chat.wait() for language, chat in chats.items()}
        finally:
            for chat in chats.values():
                chat.kill()

    assert expired.exit_code == 1
    assert expired.errors[0] == "ready"
    assert_refused(Ended(1, [], expired.errors[1:]), "UNAUTHENTICATED", "TOKEN_EXPIRED")
    for language, end in ended.items():
        assert (end.exit_code, end.errors) == (0, ["ready"]), f"{language}: {end}"
        assert end.output == ended["python"].output, f"{language} saw something else than Python"
    said = [line.split(" ", 1)[1] for line in ended["python"].output]
    ids = [guarded.ids[language] for language in EXAMPLES]
    assert sorted(said) == sorted(f"{id}: {line}" for part in lines for id, line in zip(ids, part, strict=True))
    assert all("early" in line for line in said[: len(ids)])


def test_three_languages_outlive_their_server_and_stay_logged_in(binary: Path, tmp_path: Path) -> None:
    with guard(binary, tmp_path, SHORT_LIFE, *NO_RATES) as guarded:
        go_on_through_restarts(guarded.server, {guarded.ids[language]: guarded.user(language) for language in EXAMPLES})


def test_who_says_too_much_is_slowed_down_and_loses_nothing(binary: Path, tmp_path: Path, language: str) -> None:
    with guard(binary, tmp_path, "rates.messages_per_second_per_caller=50", "rates.burst_seconds=1") as guarded:
        lines = [f"much to say {i}" for i in range(200)]
        chat = guarded.user(language).start("chat")
        try:
            chat.send_lines(lines)
            chat.end_input()
            ended = chat.wait()
        finally:
            chat.kill()
    assert ended.exit_code == 0, ended
    said = [line.split(": ", 1)[1] for line in ended.output]
    assert sorted(said) == sorted(lines)
    # What was under way with the first that came too soon may be overtaken; then one comes at a time.
    assert said[-50:] == sorted(said[-50:], key=lines.index)
    rejected = [line for line in ended.errors if "RATE_LIMITED" in line]
    assert 0 < len(rejected) < 3 * len(lines), len(rejected)


def test_a_client_certificate_must_be_of_the_authority_and_name_the_user(
    guarded: Guarded, binary: Path, tmp_path: Path, language: str
) -> None:
    guarded.server.stop()
    guarded.server.arguments = [*guarded.server.arguments, "--tls-client-ca", guarded.certificates.authority]
    guarded.server.start()

    id, own, of_another = guarded.ids[language], guarded.certificates, Certificates(binary, tmp_path / "another")
    with_certificate = guarded.user(language, *own.of_client(id))
    assert with_certificate.run("list").exit_code == 0
    assert say(with_certificate, "by my certificate") == [f"{id}: by my certificate"]

    somebody_else = guarded.user(language, *own.of_client(id), name=ADMIN)
    for command in ("list", "chat"):
        assert_refused(somebody_else.run(command), "PERMISSION_DENIED", "CERTIFICATE_MISMATCH")
    for stranger in [guarded.user(language), guarded.user(language, *of_another.of_client(id))]:
        assert_not_connected(stranger.run("list"))


def test_a_server_of_another_authority_is_told_nothing(
    guarded: Guarded, binary: Path, tmp_path: Path, language: str
) -> None:
    guarded.certificates = Certificates(binary, tmp_path / "another")
    guarded.certificates.make("nobody")
    assert_not_connected(guarded.user(language).run("list"))


def test_secrets_go_in_the_clear_only_to_this_machine(binary: Path, tmp_path: Path, language: str) -> None:
    with guard(binary, tmp_path, tls=False) as guarded:
        user, token = guarded.user(language), guarded.bearer(language, guarded.operators_token())
        for example in (user, token):
            assert example.run("list").exit_code == 0
            assert_usage_error(example.on("192.0.2.1:50051").run("list"), "in the clear")
            assert_usage_error(example.on("localhost.example:50051").run("list"), "in the clear")


def test_options_that_make_no_sense_are_refused(language: str) -> None:
    for options, command, words in [
        ([], "chat", "chat needs --user or --login"),
        (["--cert", "client.pem"], "list", "--cert and --key need each other"),
        (["--login", "ada"], "list", "RIALTO_PASSWORD"),
    ]:
        assert_usage_error(Example(EXAMPLES[language], "127.0.0.1:1", options).run(command), words)


def say(example: Example, text: str) -> list[str]:
    chat = example.start("chat")
    try:
        chat.send_lines([text])
        chat.end_input()
        ended = chat.wait()
    finally:
        chat.kill()
    assert (ended.exit_code, ended.errors) == (0, ["ready"]), ended
    return [line.split(" ", 1)[1] for line in ended.output]


def assert_refused(ended: Ended, status: str, reason: str) -> None:
    assert (ended.exit_code, ended.output) == (1, []), ended
    assert ended.errors[0].startswith(f"{status}: "), ended.errors
    assert f"  reason: {reason}" in ended.errors[1:], ended.errors


def assert_not_connected(ended: Ended) -> None:
    assert (ended.exit_code, ended.output) == (1, []), ended
    assert any(line.startswith("UNAVAILABLE: ") for line in ended.errors), (
        ended.errors
    )  # Python tells of the handshake before.


def assert_usage_error(ended: Ended, words: str) -> None:
    assert (ended.exit_code, ended.output) == (2, []), ended
    assert any(words in line for line in ended.errors), ended.errors
