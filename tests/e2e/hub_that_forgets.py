"""A server that does not know tokens and sessions any more, when it is told to forget them: what a client meets after it has slept."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from programs import DEADLINE_SECONDS
from stubs import auth_pb2, auth_pb2_grpc, user_pb2_grpc
from stubs import user_pb2 as pb

FORGET_TOKEN = "please forget my token"
FORGET_SESSION = "please forget my session"
LONG = 3600.0


class HubThatForgets(user_pb2_grpc.UserServiceServicer, auth_pb2_grpc.AuthServiceServicer):
    """Forgets when a text says so, once each, and ends the stream as if its token had expired.

    It keeps what it is asked. The first token lives for so many seconds, all others for long.
    """

    def __init__(self, life_of_first: float = LONG) -> None:
        self.calls: list[str] = []
        self._news = threading.Condition()
        self._lives = chain([life_of_first], repeat(LONG))
        self._access = self._refresh = ""
        self._said: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor())
        user_pb2_grpc.add_UserServiceServicer_to_server(self, self._server)
        auth_pb2_grpc.add_AuthServiceServicer_to_server(self, self._server)
        self.address = "127.0.0.1:{}".format(self._server.add_insecure_port("127.0.0.1:0"))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None)

    def Login(  # noqa: N802
        self, request: auth_pb2.LoginRequest, context: grpc.ServicerContext
    ) -> auth_pb2.LoginResponse:
        self._note("Login")
        return auth_pb2.LoginResponse(tokens=self._tokens())

    def Refresh(  # noqa: N802
        self, request: auth_pb2.RefreshRequest, context: grpc.ServicerContext
    ) -> auth_pb2.RefreshResponse:
        self._note("Refresh")
        if request.refresh_token != self._refresh:
            refuse(context, "SESSION_ENDED")
        return auth_pb2.RefreshResponse(tokens=self._tokens())

    def Logout(  # noqa: N802
        self, request: auth_pb2.LogoutRequest, context: grpc.ServicerContext
    ) -> auth_pb2.LogoutResponse:
        assert request.refresh_token == self._refresh
        self._note("Logout")
        return auth_pb2.LogoutResponse()

    def Chat(  # noqa: N802
        self, requests: Iterator[pb.ChatMessage], context: grpc.ServicerContext
    ) -> Iterator[pb.ChatMessage]:
        self._note("Chat")
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self._access}":
            refuse(context, "TOKEN_INVALID")
        for message in requests:
            if message.HasField("refresh_token"):
                assert message.refresh_token.token == self._access
                self._note("refresh_token")
                continue
            if message.HasField("join"):
                yield pb.ChatMessage(room=message.room, joined=pb.Joined(epoch="only", recovered=True))
                continue
            first_time = message.text not in self._said
            if first_time:
                self._said.append(message.text)
            if first_time and message.text in (FORGET_TOKEN, FORGET_SESSION):
                self._access = ""
                if message.text == FORGET_SESSION:
                    self._refresh = ""
                refuse(context, "TOKEN_EXPIRED")
            message.seq = len(self._said)
            yield message

    def wait_for(self, call: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: call in self.calls, DEADLINE_SECONDS), self.calls

    def _note(self, call: str) -> None:
        with self._news:
            self.calls.append(call)
            self._news.notify_all()

    def _tokens(self) -> auth_pb2.Tokens:
        self._access, self._refresh = f"access {len(self.calls)}", f"refresh {len(self.calls)}"
        expires_in = Duration()
        expires_in.FromMilliseconds(int(next(self._lives) * 1000))
        return auth_pb2.Tokens(
            access_token=self._access,
            access_expires_in=expires_in,
            refresh_token=self._refresh,
            refresh_expires_in=expires_in,
        )


def refuse(context: grpc.ServicerContext, reason: str) -> None:
    status = status_pb2.Status(code=code_pb2.UNAUTHENTICATED, message="forgotten")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="rialto"))
    context.abort_with_status(rpc_status.to_status(status))
