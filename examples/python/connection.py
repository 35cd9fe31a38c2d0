"""A channel as a client of a service should open one, and errors as a person can read them."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Every unary call gets a deadline: without one, a call to a server that hangs never ends.
DEADLINE_SECONDS = 10

# Only methods that may be repeated without harm are retried.
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "user.UserService", "method": "GetUser"},
                {"service": "user.UserService", "method": "UpdateUser"},
                {"service": "user.UserService", "method": "DeleteUser"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class RequestId(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds an `x-request-id` to every call, by which it can be found in logs."""

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("x-request-id", str(uuid.uuid4()))]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


def connect(server: str) -> grpc.Channel:
    options = [("grpc.service_config", json.dumps(SERVICE_CONFIG))]
    return grpc.intercept_channel(grpc.insecure_channel(server, options), RequestId())


def describe(error: grpc.RpcError) -> str:
    """The status of a failed call, and the details that the server gave."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad_request, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if detail.Unpack(bad_request):
            lines += [f"  {v.field}: {v.description}" for v in bad_request.field_violations]
        elif detail.Unpack(info):
            lines.append(f"  reason: {info.reason}")
    return "\n".join(lines)
