"""Calls about users: unary, server-streaming, client-streaming."""

import uuid

from connection import DEADLINE_SECONDS
from stubs import user_pb2 as pb
from stubs import user_pb2_grpc


def show(user: pb.User) -> str:
    return f"{user.id} {user.username} {user.email}"


def unary(stub: user_pb2_grpc.UserServiceStub) -> None:
    """Creates, gets, updates and deletes a user."""
    name = f"ada-{uuid.uuid4().hex[:8]}"
    user = stub.CreateUser(
        pb.CreateUserRequest(username=name, email=f"{name}@example.com", password="correct horse"),
        timeout=DEADLINE_SECONDS,
    )
    print("created", show(user))
    get(stub, user.id)
    user = stub.UpdateUser(pb.UpdateUserRequest(id=user.id, email=f"{name}@example.org"), timeout=DEADLINE_SECONDS)
    print("updated", show(user))
    stub.DeleteUser(pb.DeleteUserRequest(id=user.id), timeout=DEADLINE_SECONDS)
    print("deleted", user.id)


def get(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> None:
    print("got", show(stub.GetUser(pb.GetUserRequest(id=user_id), timeout=DEADLINE_SECONDS)))


def list_all(stub: user_pb2_grpc.UserServiceStub) -> None:
    for user in stub.ListUsers(pb.ListUsersRequest()):
        print(show(user))


def bulk(stub: user_pb2_grpc.UserServiceStub, names: list[str]) -> None:
    """Creates all users, or none if one is invalid."""
    requests = (pb.CreateUserRequest(username=name, email=f"{name}@example.com") for name in names)
    response = stub.CreateUsers(requests, timeout=DEADLINE_SECONDS)
    for user in response.users:
        print("created", show(user))
    print(f"created {response.count} users")
