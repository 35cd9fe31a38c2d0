"""A chat in one room: lines of standard input go out as messages, and what arrives in the room is printed."""

import sys
import threading
import uuid
from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration

from stubs import user_pb2 as pb
from stubs import user_pb2_grpc


def chat(stub: user_pb2_grpc.UserServiceStub, room: str, user: str, expect: int) -> None:
    joined = threading.Event()
    enough = threading.Event()
    if expect <= 0:
        enough.set()

    def messages() -> Iterator[pb.ChatMessage]:
        """Runs in a thread of the call's own; its end is the half-close."""
        joined.wait()
        for line in _lines_of_standard_input():
            # With an id of our own, sending the message again after a lost connection cannot publish it twice.
            yield pb.ChatMessage(room=room, user_id=user, id=str(uuid.uuid4()), text=line)
        enough.wait()

    call = stub.Chat(messages(), metadata=[("rialto-rooms", room)])
    call.initial_metadata()  # Headers mean that the join holds: nothing said from now on is missed.
    if call.is_active():
        joined.set()
        _note("ready")

    received = 0
    for message in call:
        _show(message)
        if message.text:
            received += 1
        if received >= expect:
            enough.set()


def _lines_of_standard_input() -> Iterator[str]:
    # Unbuffered, because a thread that waits inside of sys.stdin would keep the program from ending when the call fails.
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
            again = f", try again in {_seconds(rejected.retry_after)}" if rejected.HasField("retry_after") else ""
            _note(f"rejected: message {rejected.nth}: {rejected.reason}: {rejected.detail}{again}")
        case "duplicate":
            _note(f"duplicate: message {message.id} was published before, as {message.seq}")
        case "gap":
            _note(f"missing: messages {message.gap.from_seq} to {message.gap.to_seq}")
        case "draining":
            _note(f"the server is shutting down, reconnect in {_seconds(message.draining.reconnect_after)}")


def _seconds(duration: Duration) -> str:
    return f"{duration.ToMilliseconds() / 1000:g} s"


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
