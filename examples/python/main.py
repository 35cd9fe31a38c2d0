"""An example client of Rialto. See README.md, or run `python main.py --help`."""

import argparse
import contextlib
import getpass
import os
import sys
from pathlib import Path

import grpc

from auth import Session, is_loopback, with_token
from chat import chat
from connection import connect, describe
from stubs import user_pb2_grpc
from users import bulk, get, list_all, unary

SECRETS = """secrets come from the environment, because other users can see a program's arguments:
  RIALTO_PASSWORD  the password for --login; if not set, the program prompts for it
  RIALTO_TOKEN     the token for every call, without --login"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="An example client of Rialto.", epilog=SECRETS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", default="localhost:50051", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="use TLS, and trust the authorities in this PEM file")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="present this client certificate; requires --key")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the private key of the certificate")
    parser.add_argument("--login", metavar="NAME", help="log in as this user")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("unary", help="create, get, update and delete a user")
    commands.add_parser("get", help="get one user").add_argument("id")
    commands.add_parser("list", help="list all users")
    commands.add_parser("bulk", help="create many users in one call").add_argument("name", nargs="+")
    chat_command = commands.add_parser(
        "chat", help="send the lines of standard input to a room, and print what arrives; resumes after a lost connection"
    )
    chat_command.add_argument("--room", default="lobby", help="default: %(default)s")
    chat_command.add_argument("--user", default="", metavar="NAME", help="the author of the messages; not needed with a token")
    chat_command.add_argument(
        "--history", type=int, default=0, metavar="N", help="start with the last N messages of the room"
    )
    chat_command.add_argument(
        "--expect",
        type=int,
        default=0,
        metavar="N",
        help="exit only after N messages have arrived",
    )
    args = parser.parse_args()
    args.token = "" if args.login else os.environ.get("RIALTO_TOKEN", "")
    if (args.cert or args.key) and not (args.ca and args.cert and args.key):
        parser.error("--cert and --key need each other, and --ca")
    if (args.login or args.token) and not args.ca and not is_loopback(args.server):
        parser.error(f"passwords and tokens would be sent to {args.server} in the clear: use --ca")
    if args.command == "chat" and not (args.user or args.login or args.token):
        parser.error("chat needs --user or --login")
    if args.login:
        args.password = os.environ.get("RIALTO_PASSWORD")
        if args.password is None and not sys.stdin.isatty():
            parser.error("--login needs RIALTO_PASSWORD, or a terminal to prompt on")
    return args


def run(args: argparse.Namespace) -> None:
    with contextlib.ExitStack() as cleanup:
        channel = cleanup.enter_context(connect(args.server, args.ca, args.cert, args.key))
        session = None
        if args.login:
            password = args.password if args.password is not None else getpass.getpass(f"Password of {args.login}: ")
            session = Session(channel, args.login, password)
            cleanup.callback(session.logout)
            channel = with_token(channel, lambda: session.access().value)
        elif args.token:
            channel = with_token(channel, lambda: args.token)
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
                chat(stub, args.room, args.user, args.history, args.expect, session)


def main() -> int:
    try:
        run(arguments())
    except grpc.RpcError as error:
        print(describe(error), file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):  # EOFError: at the password prompt.
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
