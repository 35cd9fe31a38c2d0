"""A server that says no in every way that means: later. The real one does so only when it is very full."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from stubs import user_pb2 as pb
from stubs import user_pb2_grpc

PUBLISHED_BEFORE = "published before"
SOON = Duration(nanos=10_000_000)


class HubThatRefuses(user_pb2_grpc.UserServiceServicer):
    """Refuses the first call, the join of the second, and each text of the third once; when it comes again, it is delivered twice.

    A text that says that it was published before is answered so.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._server = grpc.server(ThreadPoolExecutor())
        user_pb2_grpc.add_UserServiceServicer_to_server(self, self._server)
        self.address = "127.0.0.1:{}".format(self._server.add_insecure_port("127.0.0.1:0"))

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None)

    def Chat(  # noqa: N802
        self, requests: Iterator[pb.ChatMessage], context: grpc.ServicerContext
    ) -> Iterator[pb.ChatMessage]:
        self._calls += 1
        assert dict(context.invocation_metadata()).get("rialto-rooms") == ""
        if self._calls == 1:
            full = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="full")
            full.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=SOON))
            context.abort_with_status(rpc_status.to_status(full))
        refused: list[str] = []
        for nth, message in enumerate(requests, 1):
            answer = pb.ChatMessage(room=message.room, id=message.id)
            if message.text == PUBLISHED_BEFORE:
                answer.duplicate.CopyFrom(pb.Duplicate())
                yield answer
            elif message.HasField("join") and self._calls > 2:
                answer.joined.CopyFrom(pb.Joined(epoch="only", recovered=True))
                yield answer
            elif message.text not in refused:
                refused.append(message.text)
                answer.rejected.CopyFrom(
                    pb.Rejected(id=message.id, code=code_pb2.UNAVAILABLE, reason="LATER", retry_after=SOON, nth=nth)
                )
                yield answer
            else:
                answer.MergeFrom(message)
                answer.seq = refused.index(message.text) + 1
                yield answer
                yield answer
