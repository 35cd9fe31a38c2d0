"""The measurements of rialto-load, and the budgets. A figure beyond its budget is reported as missed."""

from dataclasses import dataclass
from typing import Literal

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Measurement:
    """One call of rialto-load. `quick`: the same at a small size, as a functional check; None skips it in a quick run."""

    name: str
    command: str
    quick: str | None = None
    against: tuple[str, ...] = ()
    plot: bool = False
    once: bool = False


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of one system's figure to another's, run by run."""

    measurement: str
    figure: str
    against: str
    of: str = "rialto"


@dataclass(frozen=True)
class Figure:
    """The median of a figure, and that of another system to show beside it."""

    measurement: str
    figure: str
    divisor: float
    unit: str
    beside: str | None = None
    of: str = "rialto"


@dataclass(frozen=True)
class Flat:
    """The cost of a delivery in several measurements: the highest over the lowest.

    A message has a cost that does not depend on the number of deliveries. Where it would hide the cost of a delivery, it is subtracted:
    it is measured with the same messages in a room without subscribers.
    """

    measurements: tuple[tuple[str, str, str | None], ...]  # title, name, name of the same without subscribers
    pattern: str  # that matches the names


@dataclass(frozen=True)
class Calls:
    """The calls per second that ghz makes to the hub, over those to a bare server."""


@dataclass(frozen=True)
class Pages:
    """The time of a page among many users over that among few, as measured by criterion."""

    command: str = "cargo bench --bench users"


@dataclass(frozen=True)
class Budget:
    """A budget. Without a bound the figure is only reported."""

    what: str
    bound: Bound | None
    limit: float
    source: Ratio | Figure | Flat | Calls | Pages
    unit: str = "x"

    def allows(self, value: float) -> bool:
        return value >= self.limit if self.bound == "at least" else value <= self.limit


DELIVERIES = "deliveries_per_cpu_second"

# The bursts are long enough that the resolution of CPU time, 10 ms, does not matter even for a bare TCP server.
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
    # Shorter than against SQLite, because JetStream would take minutes.
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
    # The cost of TLS and tokens. Reconnecting clients have missed one message, so that the handshake dominates.
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
        "paced, 1,000 connections x 50 messages per second, over bare TCP",
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
        "the same over JetStream that always syncs", "at least", 20, Ratio("publish-512-nats", "messages_per_second", "nats")
    ),
    Budget(
        "durable publish, one in flight: time over a bare SQLite commit",
        "at most",
        1.5,
        Ratio("publish-1", "p50_us", "sqlite"),
    ),
    Budget("GetUser through ghz, calls per second over a bare tonic server", "at least", 0.9, Calls()),
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
        "TLS and tokens over plain: paced, 1,000 connections x 50 messages per second",
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
