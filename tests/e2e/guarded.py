"""A hub that asks who calls, by tokens, and mostly over TLS."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from auth import Session, with_token
from connection import connect
from conftest import EXAMPLES, PASSWORD, Example, Server, free_port, served
from programs import run
from stubs import user_pb2 as pb
from stubs import user_pb2_grpc

OPERATOR = "root"
ADMIN = "admin"


@dataclass(frozen=True)
class Certificates:
    """Those of `rialto cert --dev`: of an authority of their own, for a server and for clients."""

    binary: Path
    folder: Path

    def of_server(self) -> list[str | Path]:
        return ["--tls-cert", self.folder / "server.pem", "--tls-key", self.folder / "server-key.pem"]

    def of_client(self, name: str) -> list[str | Path]:
        self.make(name)
        return ["--cert", self.folder / f"{name}.pem", "--key", self.folder / f"{name}-key.pem"]

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    def make(self, client: str) -> None:
        """Keeps what is there already."""
        ended = run([self.binary, "cert", "--dev", "--dir", self.folder, "--client", client])
        assert ended.exit_code == 0, ended.errors


@dataclass
class Guarded:
    """Its users have the names of the languages that they speak; one more is an admin."""

    server: Server
    certificates: Certificates | None
    ids: dict[str, str] = dataclasses.field(default_factory=dict)

    def user(self, language: str, *options: str | Path, name: str = "", password: str = PASSWORD) -> Example:
        """Logs in."""
        return self._example(language, ["--login", name or language, *options], {"RIALTO_PASSWORD": password})

    def bearer(self, language: str, token: str) -> Example:
        """Has only a token."""
        return self._example(language, [], {"RIALTO_TOKEN": token})

    def nobody(self, language: str) -> Example:
        return self._example(language, [], {})

    def _example(self, language: str, options: Sequence[str | Path], environment: dict[str, str]) -> Example:
        authority = ["--ca", self.certificates.authority] if self.certificates else []
        return Example(EXAMPLES[language], self.address, [*authority, *options], environment)

    @property
    def address(self) -> str:
        """By its name: Node warns about certificates for a bare address."""
        return self.server.address.replace("127.0.0.1", "localhost")

    def access_token(self, name: str) -> str:
        """One that nothing renews."""
        with self._connect() as channel:
            return Session(channel, name, PASSWORD).access().value

    def operators_token(self) -> str:
        ended = self.server.tell("token", "--name", OPERATOR, "--role", "admin")
        assert ended.exit_code == 0, ended.errors
        return ended.output[0]

    def create_users(self) -> None:
        token = self.operators_token()
        with self._connect() as channel:
            stub = user_pb2_grpc.UserServiceStub(with_token(channel, lambda: token))
            for name in [*EXAMPLES, ADMIN]:
                self.ids[name] = stub.CreateUser(pb.CreateUserRequest(username=name, password=PASSWORD)).id
            stub.UpdateUser(pb.UpdateUserRequest(id=self.ids[ADMIN], roles=pb.Roles(values=["admin"])))

    def _connect(self) -> grpc.Channel:
        return connect(self.address, self.certificates.authority if self.certificates else None)


@contextmanager
def guard(binary: Path, folder: Path, *settings: str, tls: bool = True) -> Iterator[Guarded]:
    arguments: list[str | Path] = ["--auth", "token", *(part for setting in settings for part in ("--set", setting))]
    certificates = Certificates(binary, folder / "tls") if tls else None
    if certificates:
        certificates.make("nobody")
        arguments += certificates.of_server()
    with served(Server(binary, folder / "data", free_port(), arguments)) as server:
        guarded = Guarded(server, certificates)
        guarded.create_users()
        yield guarded
