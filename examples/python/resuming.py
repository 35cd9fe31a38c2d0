"""A chat that outlives its connection and its server: it connects again, goes on where it was, and loses and repeats nothing.

What comes in: every new stream joins the room after the last message that the one before has received. What goes out: every message has
an id of its own and is kept until it is answered; what was not, is sent again on the next stream, and the server publishes an id once. A
stream outlives the access token that it began with: before that expires, the stream is sent the next.
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

# Before a stream is opened again, a random time between the first and a bound that doubles up to the second.
MIN_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0


class ResumingChat:
    """One user in one room. One thread receives, another may send."""

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
        self._epoch: str | None = None  # None: never joined.
        self._after = 0  # Where the next stream goes on.
        self._shown = 0  # The last message that was received.
        self._backoff = MIN_BACKOFF_SECONDS
        self._reconnect_at: float | None = None  # As the server asked when it announced its end.

    def send(self, text: str) -> None:
        """Waits while too many messages are not answered."""
        self._outbox.put(pb.ChatMessage(room=self._room, user_id=self._user, id=str(uuid.uuid4()), text=text))

    def finish(self) -> None:
        """Lets `messages` end when everything sent is answered."""
        self._outbox.finish()

    def messages(self) -> Iterator[pb.ChatMessage]:
        """What the room says, each message once, and the events that the caller should know of.

        `joined` comes with every new stream. `rejected.nth` counts the messages that were given to `send`. Raises the error of a call that
        would fail again.
        """
        wait_for_ready = False
        while True:
            try:
                # The first call says if there is no connection, later ones wait for it.
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
        """One call, to its end."""
        renew_at = self._session.access().renew_at if self._session else math.inf
        # In no room at first: only a join can say where to go on.
        requests, in_no_room = self._requests(self._outbox.begin(), renew_at), [("rialto-rooms", "")]
        call = self._stub.Chat(requests, metadata=in_no_room, wait_for_ready=wait_for_ready)
        try:
            for message in call:
                if self._take(message):
                    yield message
        finally:
            call.cancel()

    def _requests(self, stream: int, renew_at: float) -> Iterator[pb.ChatMessage]:
        """Runs in a thread of the call's own; its end is the half-close."""
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
                assert self._session, "without one there is no moment to renew at"
            try:
                token, renew_at = self._session.access()
            except grpc.RpcError:
                renew_at = math.inf  # The stream ends with its token. The next one says what is wrong, if it still is.
            else:
                yield pb.ChatMessage(refresh_token=pb.RefreshToken(token=token))

    def _take(self, message: pb.ChatMessage) -> bool:
        """Whether the caller should see it."""
        match message.WhichOneof("event"):
            case None:
                self._outbox.answered(message.id)
                if message.seq <= self._shown:
                    return False
                self._after = self._shown = message.seq
            case "joined":
                if self._epoch is None:
                    self._after = message.joined.head_seq
                elif not message.joined.recovered:
                    # Other numbers than ours, or too few of them: a `gap` follows, if anything is missing.
                    self._after = self._shown = 0
                self._epoch = message.joined.epoch
                self._backoff = MIN_BACKOFF_SECONDS
                self._outbox.open()
            case "gap":
                self._after = self._shown = message.gap.to_seq
            case "duplicate":
                # A stream before has published it. It is shown like the others, in its place.
                self._outbox.answered(message.id)
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
            rejected.nth = self._outbox.again(rejected.id, seconds(rejected.retry_after))
        else:
            rejected.nth = self._outbox.answered(rejected.id)

    def _delay(self, error: grpc.RpcError) -> float | None:
        """Seconds until the next stream; None: it would fail too."""
        asked_for = retry_delay(error)
        if self._session and reason(error) == "TOKEN_EXPIRED":
            self._session.expired()
            asked_for = 0.0
        if asked_for is None:
            return None
        reconnect_at, self._reconnect_at = self._reconnect_at, None
        if reconnect_at is not None:
            return max(0.0, reconnect_at - time.monotonic())
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)
        return asked_for + random.uniform(MIN_BACKOFF_SECONDS, self._backoff)
