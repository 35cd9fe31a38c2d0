"""A chat that survives lost connections and server restarts: it reconnects and resumes without loss or duplicates.

Incoming: every new stream joins the room after the last message that was received. Outgoing: every message has an id and is kept until it
is acknowledged; unacknowledged messages are sent again on the next stream, and the server publishes an id only once. Tokens: before the
stream's access token expires, the client sends a new one on the stream.
"""

import math
import random
import time
import uuid
from collections.abc import Callable, Iterator

import grpc
from google.rpc import code_pb2

from auth import Session
from connection import RejectedError, reason, retry_delay, seconds
from outbox import Outbox
from stubs import user_pb2 as pb
from stubs import user_pb2_grpc

# The delay before a stream is opened again is random, between the minimum and a bound that doubles up to the maximum.
MIN_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0


class ResumingChat:
    """One user in one room. One thread receives, and another one may send."""

    def __init__(
        self,
        stub: user_pb2_grpc.UserServiceStub,
        room: str,
        user: str,
        history: int = 0,
        on_lost: Callable[[grpc.RpcError], None] = lambda error: None,
        session: Session | None = None,
    ) -> None:
        self._stub = stub
        self._room = room
        self._user = user
        self._history = history
        self._on_lost = on_lost
        self._session = session
        self._outbox = Outbox()
        self._epoch: str | None = None  # None before the first join.
        self._after = 0  # The next stream resumes after this seq.
        self._shown = 0  # The seq of the last message received.
        self._backoff = MIN_BACKOFF_SECONDS
        self._reconnect_at: float | None = None  # Set by `draining`.

    def send(self, text: str) -> None:
        """Sends a message. Waits while too many messages are unacknowledged."""
        self._outbox.put(pb.ChatMessage(room=self._room, user_id=self._user, id=str(uuid.uuid4()), text=text))

    def finish(self) -> None:
        """Lets `messages` end once everything sent is acknowledged."""
        self._outbox.finish()

    def messages(self) -> Iterator[pb.ChatMessage]:
        """Yields the messages of the room, each once, and the events that concern the caller.

        `joined` is yielded for every new stream. `rejected.nth` counts the messages passed to `send`. Raises an error that a retry would not fix.
        """
        wait_for_ready = False
        while True:
            try:
                # The first call fails if there is no connection; later ones wait for it.
                yield from self._stream(wait_for_ready)
                if self._outbox.is_done():
                    return
                raise RejectedError(pb.Rejected(code=code_pb2.UNAVAILABLE, detail="the stream has ended early"))
            except grpc.RpcError as error:
                delay = self._delay(error)
                if delay is None:
                    raise
                self._on_lost(error)
            wait_for_ready = True
            time.sleep(delay)

    def _stream(self, wait_for_ready: bool) -> Iterator[pb.ChatMessage]:
        """Makes one call and follows it to its end."""
        renew_at = self._session.access().renew_at if self._session else math.inf
        # Start in no room: only a join can resume.
        requests, in_no_room = self._requests(self._outbox.begin(), renew_at), [("rialto-rooms", "")]
        call = self._stub.Chat(requests, metadata=in_no_room, wait_for_ready=wait_for_ready)
        try:
            for message in call:
                if self._take(message):
                    yield message
        finally:
            call.cancel()

    def _requests(self, stream: int, renew_at: float) -> Iterator[pb.ChatMessage]:
        """Yields the requests of a call, in a thread of its own. Its end half-closes the stream."""
        if self._epoch is None:
            join = pb.Join(history=self._history)
        else:
            join = pb.Join(after_seq=self._after, epoch=self._epoch)
        yield pb.ChatMessage(room=self._room, user_id=self._user, join=join)
        while True:
            try:
                while message := self._outbox.next(stream, renew_at):
                    yield message
                return
            except TimeoutError:
                assert self._session, "only a session has a time to renew at"
            try:
                token, renew_at = self._session.access()
            except grpc.RpcError:
                renew_at = math.inf  # The stream will end with its token, and the next one reports the error.
            else:
                yield pb.ChatMessage(refresh_token=pb.RefreshToken(token=token))

    def _take(self, message: pb.ChatMessage) -> bool:
        """Handles a message, and returns whether the caller should see it."""
        match message.WhichOneof("event"):
            case None:
                self._outbox.settle(message.id)
                if message.seq <= self._shown:
                    return False
                self._after = self._shown = message.seq
            case "joined":
                if self._epoch is None:
                    self._after = message.joined.head_seq
                elif not message.joined.recovered:
                    # Another epoch, or messages are missing: a `gap` follows unless nothing is missing.
                    self._after = self._shown = 0
                self._epoch = message.joined.epoch
                self._backoff = MIN_BACKOFF_SECONDS
                self._outbox.open()
            case "gap":
                self._after = self._shown = message.gap.to_seq
            case "duplicate":
                # Published on an earlier stream. It is shown when it is delivered.
                self._outbox.settle(message.id)
                return False
            case "rejected":
                self._reject(message.rejected)
            case "draining":
                self._outbox.hold()
                self._reconnect_at = time.monotonic() + seconds(message.draining.reconnect_after)
        return True

    def _reject(self, rejected: pb.Rejected) -> None:
        if rejected.nth == 1:
            raise RejectedError(rejected)  # The join.
        if rejected.HasField("retry_after"):
            rejected.nth = self._outbox.retry(rejected.id, seconds(rejected.retry_after))
        else:
            rejected.nth = self._outbox.settle(rejected.id)

    def _delay(self, error: grpc.RpcError) -> float | None:
        """Returns the seconds until the next stream; None if it would fail too."""
        minimum = retry_delay(error)
        if self._session and reason(error) == "TOKEN_EXPIRED":
            self._session.expired()
            minimum = 0.0
        if minimum is None:
            return None
        reconnect_at, self._reconnect_at = self._reconnect_at, None
        if reconnect_at is not None:
            return max(0.0, reconnect_at - time.monotonic())
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)
        return minimum + random.uniform(MIN_BACKOFF_SECONDS, self._backoff)
