"""Chat in one room: sends the lines of standard input, and prints what arrives."""

import sys
import threading
from collections.abc import Iterator

import grpc

from auth import Session
from connection import describe, seconds
from resuming import ResumingChat
from stubs import user_pb2 as pb
from stubs import user_pb2_grpc


def chat(
    stub: user_pb2_grpc.UserServiceStub, room: str, user: str, history: int, expect: int, session: Session | None
) -> None:
    chat = ResumingChat(stub, room, user, history, _show_lost, session)
    enough = threading.Event()
    if expect <= 0:
        enough.set()

    def send_lines() -> None:
        for line in _lines_of_standard_input():
            chat.send(line)
        enough.wait()
        chat.finish()

    threading.Thread(target=send_lines, daemon=True).start()

    received = 0
    joined = "ready"
    for message in chat.messages():
        if message.HasField("joined"):
            _note(joined)
            joined = "reconnected"
        _show(message)
        if message.text:
            received += 1
        if received >= expect:
            enough.set()


def _lines_of_standard_input() -> Iterator[str]:
    # Unbuffered, because a thread that is blocked in sys.stdin would keep the program from exiting when the call fails.
    with open(0, "rb", buffering=0, closefd=False) as raw:
        for line in raw:
            if text := line.decode(errors="replace").rstrip("\r\n"):
                yield text


def _show(message: pb.ChatMessage) -> None:
    match message.WhichOneof("event"):
        case None:
            print(f"{message.seq} {message.user_id}: {message.text}", flush=True)
        case "rejected":
            rejected = message.rejected
            again = f", trying again in {seconds(rejected.retry_after):g} s" if rejected.HasField("retry_after") else ""
            _note(f"rejected: message {rejected.nth}: {rejected.reason}: {rejected.detail}{again}")
        case "gap":
            _note(f"missing: messages {message.gap.from_seq} to {message.gap.to_seq}")
        case "draining":
            _note(f"the server is shutting down, reconnecting in {seconds(message.draining.reconnect_after):g} s")


def _show_lost(error: grpc.RpcError) -> None:
    _note(f"not connected: {describe(error).splitlines()[0]}; trying again")


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
