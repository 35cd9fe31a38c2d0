"""Outgoing messages, kept in order until they are acknowledged."""

import math
import threading
import time
from dataclasses import dataclass

from stubs import user_pb2 as pb

# A sender waits while this many messages are unacknowledged.
MAX_UNACKNOWLEDGED = 256


@dataclass
class _Unacknowledged:
    message: pb.ChatMessage
    number: int
    sent: bool = False


class Outbox:
    """Thread-safe. One thread adds messages, one acknowledges them, and one per stream sends them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unacknowledged: dict[str, _Unacknowledged] = {}
        self._number = 0
        self._finished = False
        self._stream = 0  # The current stream.
        self._send_from = math.inf
        self._window = MAX_UNACKNOWLEDGED  # Maximum number of messages in flight.

    def put(self, message: pb.ChatMessage) -> None:
        """Adds a message. Waits while the outbox is full."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._unacknowledged) < MAX_UNACKNOWLEDGED)
            self._number += 1
            self._unacknowledged[message.id] = _Unacknowledged(message, self._number)
            self._changed.notify_all()

    def finish(self) -> None:
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def is_done(self) -> bool:
        with self._changed:
            return self._finished and not self._unacknowledged

    def begin(self) -> int:
        """Starts the next stream, and returns its number. Messages are held until it has joined."""
        with self._changed:
            self._stream += 1
            self._send_from = math.inf
            self._changed.notify_all()
            return self._stream

    def open(self) -> None:
        """Releases messages to a stream that has joined: it must send everything that is unacknowledged."""
        with self._changed:
            self._send_from = time.monotonic()
            for unacknowledged in self._unacknowledged.values():
                unacknowledged.sent = False
            self._changed.notify_all()

    def hold(self) -> None:
        """Holds messages for the next stream."""
        with self._changed:
            self._send_from = math.inf

    def next(self, stream: int, until: float = math.inf) -> pb.ChatMessage | None:
        """Waits for the next message; None if this stream has no more to send. Raises TimeoutError at the time `until`."""
        with self._changed:
            while stream == self._stream:
                now = time.monotonic()
                if now >= until:
                    raise TimeoutError
                wake_at = until
                if now < self._send_from:
                    wake_at = min(until, self._send_from)
                else:
                    in_flight = sum(each.sent for each in self._unacknowledged.values())
                    unsent = (each for each in self._unacknowledged.values() if not each.sent)
                    if in_flight < self._window and (first := next(unsent, None)):
                        first.sent = True
                        return first.message
                    if self._finished and not self._unacknowledged:
                        return None
                self._changed.wait(min(wake_at - now, threading.TIMEOUT_MAX))
            return None

    def settle(self, message_id: str) -> int:
        """Removes a message that was published or finally rejected, and returns its number; 0 if it is not in the outbox."""
        with self._changed:
            self._changed.notify_all()
            unacknowledged = self._unacknowledged.pop(message_id, None)
            if not self._unacknowledged:
                self._window = MAX_UNACKNOWLEDGED
            return unacknowledged.number if unacknowledged else 0

    def retry(self, message_id: str, delay: float) -> int:
        """Sends the message again after `delay` seconds. Returns its number; 0 if it is not in the outbox.

        Until the outbox is empty, messages are then sent one at a time: sending all at once would exceed the rate again, and change their order.
        """
        with self._changed:
            self._window = 1
            self._send_from = max(self._send_from, time.monotonic() + delay)
            self._changed.notify_all()
            unacknowledged = self._unacknowledged.get(message_id)
            if unacknowledged is None:
                return 0
            unacknowledged.sent = False
            return unacknowledged.number
