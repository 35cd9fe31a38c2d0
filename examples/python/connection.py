"""A channel with deadlines, retries and keepalive, and readable errors."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from stubs import user_pb2 as pb

# The deadline of unary calls: without one, a call to a server that hangs never ends.
DEADLINE_SECONDS = 10

# Only idempotent methods are retried.
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

OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # Reconnect soon, and with a bounded backoff: streams wait for the connection.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Keepalive pings detect a peer that disappeared, which a client that only receives would otherwise never notice.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]

# The codes that gRPC itself reports for a lost stream or connection. The server's own errors carry details.
LOST = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}


class AddsMetadata(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds a metadata entry, returned by a function, to every call."""

    def __init__(self, entry: Callable[[], tuple[str, str]]) -> None:
        self._entry = entry

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._entry()]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


def connect(server: str, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> grpc.Channel:
    """Opens a channel: with TLS if `ca` is given, and with a client certificate if `cert` and `key` are."""
    if ca is None:
        channel = grpc.insecure_channel(server, OPTIONS)
    else:
        authority, own_key, own = (file.read_bytes() if file else None for file in (ca, key, cert))
        channel = grpc.secure_channel(server, grpc.ssl_channel_credentials(authority, own_key, own), OPTIONS)
    # Identifies each call in logs.
    return grpc.intercept_channel(channel, AddsMetadata(lambda: ("x-request-id", str(uuid.uuid4()))))


def describe(error: grpc.RpcError) -> str:
    """Formats the status of a failed call and its details."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad_request, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if detail.Unpack(bad_request):
            lines += [f"  {v.field}: {v.description}" for v in bad_request.field_violations]
        elif detail.Unpack(info):
            lines.append(f"  reason: {info.reason}")
    return "\n".join(lines)


def reason(error: grpc.RpcError) -> str:
    """Returns the reason in the error's details; empty if there is none."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return ""


def retry_delay(error: grpc.RpcError) -> float | None:
    """Returns the minimum delay in seconds before a retry; None if a retry would fail."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return seconds(retry.retry_delay)
    lost = error.code() is grpc.StatusCode.UNAVAILABLE or (status is None and error.code() in LOST)
    return 0.0 if lost else None


class RejectedError(grpc.RpcError):
    """A `rejected` event as the error of its call."""

    def __init__(self, rejected: pb.Rejected) -> None:
        status = status_pb2.Status(code=rejected.code, message=rejected.detail)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=rejected.reason, domain="rialto"))
        if rejected.HasField("retry_after"):
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=rejected.retry_after))
        self._status = rpc_status.to_status(status)
        super().__init__(rejected.detail)

    def code(self) -> grpc.StatusCode:
        return self._status.code

    def details(self) -> str:
        return self._status.details

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata


def seconds(duration: Duration) -> float:
    return duration.ToMilliseconds() / 1000
