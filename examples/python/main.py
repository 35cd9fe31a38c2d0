"""A small client of Rialto. See README.md, or run `python main.py --help`."""

import argparse
import sys

import grpc

from chat import chat
from connection import connect, describe
from stubs import user_pb2_grpc
from users import bulk, get, list_all, unary


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A small client of Rialto.")
    parser.add_argument("--server", default="localhost:50051", metavar="HOST:PORT", help="default: %(default)s")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("unary", help="create, get, update and delete a user")
    commands.add_parser("get", help="get one user").add_argument("id")
    commands.add_parser("list", help="list all users")
    commands.add_parser("bulk", help="create many users in one call").add_argument("name", nargs="+")
    chat_command = commands.add_parser(
        "chat", help="send the lines of standard input to a room, print what arrives; go on after a lost connection"
    )
    chat_command.add_argument("--room", default="lobby", help="default: %(default)s")
    chat_command.add_argument("--user", required=True, metavar="NAME")
    chat_command.add_argument(
        "--history", type=int, default=0, metavar="N", help="begin with the last N messages of the room"
    )
    chat_command.add_argument(
        "--expect",
        type=int,
        default=0,
        metavar="N",
        help="stay until N messages have arrived, also after the input's end",
    )
    return parser.parse_args()


def run(args: argparse.Namespace) -> None:
    with connect(args.server) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        match args.command:
            case "unary":
                unary(stub)
            case "get":
                get(stub, args.id)
            case "list":
                list_all(stub)
            case "bulk":
                bulk(stub, args.name)
            case "chat":
                chat(stub, args.room, args.user, args.history, args.expect)


def main() -> int:
    try:
        run(arguments())
    except grpc.RpcError as error:
        print(describe(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
