"""Makes the calls of the first Python client, one after the other, and says how each went."""

import sys
import time
from collections.abc import Iterator

import grpc
import user_pb2
import user_pb2_grpc


def main(server: str) -> None:
    with grpc.insecure_channel(server) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        get_user(stub)
        list_users(stub)
        create_users(stub)
        chat(stub)


def get_user(stub: user_pb2_grpc.UserServiceStub) -> None:
    try:
        user = stub.GetUser(user_pb2.GetUserRequest(id="123"))
        print(f"User: {user.username}")
    except grpc.RpcError as error:
        print(f"Error: {error.code().name}")


def list_users(stub: user_pb2_grpc.UserServiceStub) -> None:
    for user in stub.ListUsers(user_pb2.ListUsersRequest()):
        print(f"User: {user.username}")


def create_users(stub: user_pb2_grpc.UserServiceStub) -> None:
    def requests() -> Iterator[user_pb2.CreateUserRequest]:
        for i in range(5):
            yield user_pb2.CreateUserRequest(username=f"user{i}", email=f"user{i}@example.com", password="password")

    response = stub.CreateUsers(requests())
    print(f"Created {response.count} users")


def chat(stub: user_pb2_grpc.UserServiceStub) -> None:
    def messages() -> Iterator[user_pb2.ChatMessage]:
        for i in range(5):
            yield user_pb2.ChatMessage(user_id="user1", text=f"Message {i}", timestamp=int(time.time()))

    for message in stub.Chat(messages()):
        print(f"Received: {message.text}")
    print("Chat ended")


if __name__ == "__main__":
    main(sys.argv[1])
