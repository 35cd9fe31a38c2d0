"""Authentication: the tokens of a login, refreshed before they expire, and the interceptor that adds one to every call."""

import contextlib
import ipaddress
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc

from connection import DEADLINE_SECONDS, AddsMetadata, seconds
from stubs import auth_pb2 as pb
from stubs import auth_pb2_grpc

# An access token is refreshed this long before it expires, or after two thirds of its lifetime if that is earlier.
MARGIN_SECONDS = 30.0


class AccessToken(NamedTuple):
    value: str
    renew_at: float  # By the clock of time.monotonic.


class Session:
    """A login and its tokens. Thread-safe."""

    def __init__(self, channel: grpc.Channel, name: str, password: str) -> None:
        """The channel must not add tokens: login and refresh are the calls that obtain them."""
        self._stub = auth_pb2_grpc.AuthServiceStub(channel)
        self._login = pb.LoginRequest(username=name, password=password)
        self._one_at_a_time = threading.Lock()
        self._access: AccessToken | None = None
        self._refresh_token = ""

    def access(self) -> AccessToken:
        """Returns a token that is valid for a while. Callers wait while it is refreshed: a refresh token can be used only once."""
        with self._one_at_a_time:
            now = time.monotonic()
            if self._access is None or now >= self._access.renew_at:
                tokens = self._renewed()
                life = seconds(tokens.access_expires_in)
                self._access = AccessToken(tokens.access_token, now + life - min(MARGIN_SECONDS, life / 3))
                self._refresh_token = tokens.refresh_token
            return self._access

    def expired(self) -> None:
        """Discards an access token that the server has rejected as expired, for example after this machine has slept."""
        with self._one_at_a_time:
            self._access = None

    def logout(self) -> None:
        with self._one_at_a_time, contextlib.suppress(grpc.RpcError):  # Without a logout the session expires by itself.
            if self._refresh_token:
                self._stub.Logout(pb.LogoutRequest(refresh_token=self._refresh_token), timeout=DEADLINE_SECONDS)

    def _renewed(self) -> pb.Tokens:
        if self._refresh_token:
            try:
                request = pb.RefreshRequest(refresh_token=self._refresh_token)
                return self._stub.Refresh(request, timeout=DEADLINE_SECONDS).tokens
            except grpc.RpcError as error:
                # The session has ended: it expired, or the response to the last refresh was lost.
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
        return self._stub.Login(self._login, timeout=DEADLINE_SECONDS).tokens


def with_token(channel: grpc.Channel, access_token: Callable[[], str]) -> grpc.Channel:
    """Adds a token to every call. Uses an interceptor, because gRPC does not send call credentials without TLS."""
    return grpc.intercept_channel(channel, AddsMetadata(lambda: ("authorization", f"Bearer {access_token()}")))


def is_loopback(server: str) -> bool:
    """Whether HOST:PORT is a loopback address, to which secrets may be sent without TLS."""
    host = urlsplit(f"//{server}").hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
