"""What is measured by rialto-load, and what it may cost. A figure beyond its budget is shown as missed."""

from dataclasses import dataclass
from typing import Literal

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Measurement:
    """One call of rialto-load. `quick` is the same at a size that only shows whether it works; None leaves it out."""

    name: str
    command: str
    quick: str | None = None
    against: tuple[str, ...] = ()
    plot: bool = False
    once: bool = False


@dataclass(frozen=True)
class Ratio:
    """A figure of one system over that of another, run by run, and the median of that."""

    measurement: str
    figure: str
    against: str
    of: str = "rialto"


@dataclass(frozen=True)
class Figure:
    """The median of a figure, and what the same is elsewhere."""

    measurement: str
    figure: str
    divisor: float
    unit: str
    beside: str | None = None
    of: str = "rialto"


@dataclass(frozen=True)
class Flat:
    """What a delivery costs in several measurements: the highest over the lowest.

    A message costs something however few get it. Where that would hide the cost of a delivery, it is taken away: it is what the same
    messages cost with nobody in the room but their publisher.
    """

    measurements: tuple[tuple[str, str, str | None], ...]  # what a reader calls it, its name, the same without subscribers
    pattern: str  # of their names


@dataclass(frozen=True)
class Calls:
    """The calls a second that ghz gets out of the hub, over those of a bare server."""


@dataclass(frozen=True)
class Pages:
    """The time of a page among many users over that among few, which criterion has measured."""

    command: str = "cargo bench --bench users"


@dataclass(frozen=True)
class Budget:
    """What something may cost. Without a bound it may cost what it does, and is only shown."""

    what: str
    bound: Bound | None
    limit: float
    source: Ratio | Figure | Flat | Calls | Pages
    unit: str = "x"

    def allows(self, value: float) -> bool:
        return value >= self.limit if self.bound == "at least" else value <= self.limit


DELIVERIES = "deliveries_per_cpu_second"

# The bursts are so long that a tick of the processors' clock, 10 ms, does not matter to a bare TCP server.
MEASUREMENTS = (
    Measurement(
        "burst-100",
        "burst --rooms 1 --subscribers 100 --publishers 8 --messages 200000 --size 100",
        "burst --rooms 1 --subscribers 10 --publishers 2 --messages 200 --size 100",
        ("tcp", "nats"),
        plot=True,
    ),
    Measurement(
        "burst-1000", "burst --rooms 1 --subscribers 1000 --publishers 8 --messages 30000 --size 100", None, ("tcp",)
    ),
    Measurement(
        "paced",
        "fanout --rooms 1 --subscribers 1000 --connections 1000 --publishers 1 --rate 50 --size 100 --seconds 10",
        "fanout --rooms 1 --subscribers 10 --connections 5 --publishers 1 --rate 50 --size 100 --seconds 1",
        ("tcp", "nats"),
        plot=True,
    ),
    Measurement("idle", "idle --connections 1000 --streams 1", "idle --connections 20 --streams 1", ("nats",)),
    Measurement("idle-streams", "idle --connections 10 --streams 100", "idle --connections 2 --streams 10"),
    Measurement(
        "publish-512",
        "publish --window 512 --messages 200000 --size 100",
        "publish --window 512 --messages 1000 --size 100",
        ("sqlite",),
    ),
    # Shorter: JetStream would take minutes.
    Measurement(
        "publish-512-nats",
        "publish --window 512 --messages 10000 --size 100",
        "publish --window 64 --messages 100 --size 100",
        ("nats",),
    ),
    Measurement(
        "publish-1",
        "publish --window 1 --messages 5000 --size 100",
        "publish --window 1 --messages 100 --size 100",
        ("sqlite",),
    ),
    *(
        Measurement(
            f"subscribers-{subscribers}{suffix}",
            f"fanout --rooms 1 --subscribers {count} --rate {10_000 // subscribers} --size 100 --seconds 8",
        )
        for subscribers in (10, 100, 1000, 5000)
        for count, suffix in ((subscribers, ""), (0, "-alone"))
    ),
    Measurement("rooms-1", "fanout --rooms 1 --subscribers 10 --publishers 1 --rate 500 --size 100 --seconds 8"),
    Measurement(
        "rooms-100",
        "fanout --rooms 100 --subscribers 10 --rooms-per-stream 100 --publishers 10 --rate 5 --size 100 --seconds 8",
        "fanout --rooms 20 --subscribers 2 --rooms-per-stream 10 --publishers 2 --rate 5 --size 100 --seconds 1",
    ),
    Measurement(
        "rooms-10000",
        "fanout --rooms 10000 --subscribers 10 --rooms-per-stream 1000 --publishers 10 --rate 0.05 --size 100 --seconds 20",
    ),
    # What TLS and tokens cost. Who comes back has missed next to nothing: what is left is the handshake.
    Measurement(
        "tls-burst-100",
        "burst --rooms 1 --subscribers 100 --publishers 8 --messages 200000 --size 100",
        "burst --rooms 1 --subscribers 10 --publishers 2 --messages 200 --size 100",
        ("rialto-tls",),
    ),
    Measurement(
        "tls-paced",
        "fanout --rooms 1 --subscribers 1000 --connections 1000 --publishers 1 --rate 50 --size 100 --seconds 10",
        None,
        ("rialto-tls",),
    ),
    Measurement("tls-idle", "idle --connections 1000 --streams 1", None, ("rialto-tls",)),
    Measurement("tls-reconnect", "reconnect --clients 1000 --missed 1", None, ("rialto-tls",)),
    Measurement("reconnect", "reconnect --clients 1000 --missed 1000", "reconnect --clients 20 --missed 20"),
    Measurement(
        "churn",
        "churn --subscribers 200 --churners 50 --rate 50 --seconds 60",
        "churn --subscribers 10 --churners 5 --rate 20 --seconds 1",
        plot=True,
        once=True,
    ),
)

BUDGETS = (
    Budget("burst, 100 subscribers, over bare TCP", "at least", 0.5, Ratio("burst-100", DELIVERIES, "tcp")),
    Budget("burst, 100 subscribers, over core NATS", "at least", 2, Ratio("burst-100", DELIVERIES, "nats")),
    Budget("burst, 1,000 subscribers, over bare TCP", "at least", 0.8, Ratio("burst-1000", DELIVERIES, "tcp")),
    Budget(
        "paced, 1,000 connections x 50 messages a second, over bare TCP",
        "at least",
        0.62,
        Ratio("paced", DELIVERIES, "tcp"),
    ),
    Budget("the same over core NATS", "at least", 1.1, Ratio("paced", DELIVERIES, "nats")),
    Budget(
        "memory of a connected client, one stream each",
        "at most",
        26,
        Figure("idle", "bytes_per_client", 1024, "KiB", "nats"),
        "KiB",
    ),
    Budget(
        "memory of a further stream on a connection",
        "at most",
        6,
        Figure("idle-streams", "bytes_per_stream", 1024, "KiB"),
        "KiB",
    ),
    Budget(
        "durable publish, 512 in flight, over bare SQLite",
        "at least",
        0.5,
        Ratio("publish-512", "messages_per_second", "sqlite"),
    ),
    Budget(
        "the same over JetStream that syncs always", "at least", 20, Ratio("publish-512-nats", "messages_per_second", "nats")
    ),
    Budget(
        "durable publish, one in flight: time over a bare SQLite commit",
        "at most",
        1.5,
        Ratio("publish-1", "p50_us", "sqlite"),
    ),
    Budget("GetUser through ghz, calls a second over a bare tonic server", "at least", 0.9, Calls()),
    Budget("a page of 100 from 1,000,000 users: time over that from 1,000", "at most", 1.2, Pages()),
    Budget(
        "cost per delivery, from 10 to 5,000 subscribers: highest over lowest",
        "at most",
        1.2,
        Flat(
            tuple(
                (f"{subscribers:,}", f"subscribers-{subscribers}", f"subscribers-{subscribers}-alone")
                for subscribers in (10, 100, 1000, 5000)
            ),
            "subscribers-*",
        ),
    ),
    Budget(
        "cost per delivery, from 1 to 10,000 rooms of 10 subscribers: highest over lowest",
        "at most",
        1.2,
        Flat((("1", "rooms-1", None), ("100", "rooms-100", None), ("10,000", "rooms-10000", None)), "rooms-*"),
    ),
    Budget(
        "TLS and tokens over plain: burst, 100 subscribers",
        None,
        0,
        Ratio("tls-burst-100", DELIVERIES, "rialto", of="rialto-tls"),
    ),
    Budget(
        "TLS and tokens over plain: paced, 1,000 connections x 50 messages a second",
        None,
        0,
        Ratio("tls-paced", DELIVERIES, "rialto", of="rialto-tls"),
    ),
    Budget(
        "TLS and tokens: memory of a connected client, one stream each",
        None,
        0,
        Figure("tls-idle", "bytes_per_client", 1024, "KiB", "rialto", of="rialto-tls"),
        "KiB",
    ),
)
