"""A connection that can fail at a chosen moment."""

import contextlib
import socket
import threading
from typing import Literal, Self

from programs import DEADLINE_SECONDS

Direction = Literal["requests", "answers"]


class Proxy:
    """Stands between clients and a server. It can swallow what goes one way, and cut what is connected."""

    def __init__(self, server: str) -> None:
        host, port = server.split(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self._listener.getsockname()[1])
        self._news = threading.Condition()
        self._swallowing: Direction | None = None
        self._swallowed = b""
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def swallow(self, direction: Direction) -> None:
        with self._news:
            self._swallowing = direction

    def wait_for_swallowed(self, data: bytes) -> None:
        with self._news:
            assert self._news.wait_for(lambda: data in self._swallowed, DEADLINE_SECONDS), f"{data!r} did not come"

    def cut(self) -> None:
        """Ends all connections. Those that follow are whole."""
        with self._news:
            self._swallowing = None
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # The listener was closed.
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                with self._news:
                    self._sockets += [client, server]
                for direction, source, sink in [("requests", client, server), ("answers", server, client)]:
                    threading.Thread(target=self._forward, args=(direction, source, sink), daemon=True).start()

    def _forward(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                with self._news:
                    swallowed = self._swallowing == direction
                    if swallowed:
                        self._swallowed += data
                        self._news.notify_all()
                if not swallowed:
                    sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
