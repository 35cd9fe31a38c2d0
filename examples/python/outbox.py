"""Messages until they are answered, in order."""

import math
import threading
import time
from dataclasses import dataclass

from stubs import user_pb2 as pb

# A sender waits while so many messages are not answered.
MAX_UNANSWERED = 256


@dataclass
class _Unanswered:
    message: pb.ChatMessage
    number: int
    sent: bool = False


class Outbox:
    """Used by a thread that adds, one that answers, and for each stream one that takes what to send."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._unanswered: dict[str, _Unanswered] = {}
        self._number = 0
        self._finished = False
        self._stream = 0  # The stream that sends now.
        self._send_from = math.inf
        self._window = MAX_UNANSWERED  # So many may be under way.

    def put(self, message: pb.ChatMessage) -> None:
        """Waits for a place."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._unanswered) < MAX_UNANSWERED)
            self._number += 1
            self._unanswered[message.id] = _Unanswered(message, self._number)
            self._changed.notify_all()

    def finish(self) -> None:
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def is_done(self) -> bool:
        with self._changed:
            return self._finished and not self._unanswered

    def begin(self) -> int:
        """Holds messages until the next stream has joined. Returns its number."""
        with self._changed:
            self._stream += 1
            self._send_from = math.inf
            self._changed.notify_all()
            return self._stream

    def open(self) -> None:
        """Lets messages go out on a stream that has joined: everything that is not answered has to be sent on it."""
        with self._changed:
            self._send_from = time.monotonic()
            for unanswered in self._unanswered.values():
                unanswered.sent = False
            self._changed.notify_all()

    def hold(self) -> None:
        """Keeps messages for the next stream."""
        with self._changed:
            self._send_from = math.inf

    def next(self, stream: int, until: float = math.inf) -> pb.ChatMessage | None:
        """Waits for the next message to send; None: this stream has no more to send. Raises TimeoutError at the moment `until`."""
        with self._changed:
            while stream == self._stream:
                now = time.monotonic()
                if now >= until:
                    raise TimeoutError
                wake_at = until
                if now < self._send_from:
                    wake_at = min(until, self._send_from)
                else:
                    under_way = sum(each.sent for each in self._unanswered.values())
                    unsent = (each for each in self._unanswered.values() if not each.sent)
                    if under_way < self._window and (first := next(unsent, None)):
                        first.sent = True
                        return first.message
                    if self._finished and not self._unanswered:
                        return None
                self._changed.wait(min(wake_at - now, threading.TIMEOUT_MAX))
            return None

    def answered(self, message_id: str) -> int:
        """Returns the number that the message had, or 0 if it is none of ours."""
        with self._changed:
            self._changed.notify_all()
            unanswered = self._unanswered.pop(message_id, None)
            if not self._unanswered:
                self._window = MAX_UNANSWERED
            return unanswered.number if unanswered else 0

    def again(self, message_id: str, delay: float) -> int:
        """Has the message sent once more, after so many seconds. Returns its number.

        From then on one is sent at a time, until none is left: all at once would be too many again, and out of order.
        """
        with self._changed:
            self._window = 1
            self._send_from = max(self._send_from, time.monotonic() + delay)
            self._changed.notify_all()
            unanswered = self._unanswered.get(message_id)
            if unanswered is None:
                return 0
            unanswered.sent = False
            return unanswered.number
