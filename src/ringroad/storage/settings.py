"""Settings: one frozen value and one table, from which come the reader, `--help`, the docs page and a test.

The fields below are the table. `cli/settings.py` reads it from `ringroad.toml` and the environment;
this module says what there is, what is allowed, and where things lie under the var folder.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

from ringroad.kernel.errors import InvalidInput

Network = IPv4Network | IPv6Network

PORT_MAX: Final = 65_535
STARS: Final = "********"
_EVERYBODY: Final = {
    "trusted_proxies": "name the proxies: callers can write that header too",
    "webhook_networks": "name the networks: public addresses are allowed anyway",
}
_SOURCE: Final = re.compile(r"[!#-;=?-Z_a-z~\[\]]{1,200}")  # RFC 3986 characters


def _setting(
    default: Any, text: str, *, secret: bool = False, least: int | None = None, most: int | None = None
) -> Any:
    metadata = {"help": text, "secret": secret, "least": least, "most": most}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a person may set. Every process of one installation reads the same."""

    var: Path = _setting(Path("var"), "Folder for everything Ringroad stores.")  # noqa: RUF009 - immutable
    database_url: str = _setting(
        "",
        "PostgreSQL 15 or newer of your own, as a URL. Empty: the embedded one, in the var folder.",
        secret=True,
    )
    database_port: int = _setting(
        0, "Loopback port of the embedded PostgreSQL. 0: a private socket only.", least=0, most=PORT_MAX
    )
    nats_url: str = _setting(
        "", "NATS server of your own, as a URL with user and password. Empty: the embedded one.", secret=True
    )
    nats_port: int = _setting(4222, "Loopback port of the embedded NATS server.", least=1, most=PORT_MAX)
    mqtt_host: str = _setting(
        "127.0.0.1", "Address where vehicles reach MQTT; the embedded server listens on it."
    )
    mqtt_port: int = _setting(1883, "Port where vehicles reach MQTT.", least=1, most=PORT_MAX)
    leaf_host: str = _setting("127.0.0.1", "Address where the NATS servers of sites connect.")
    leaf_port: int = _setting(
        0,
        "Port where the NATS servers of sites connect, over TLS. 0: this installation has no sites.",
        least=0,
        most=PORT_MAX,
    )
    blob_url: str = _setting(
        "",
        "Object store for images: s3://, gs://, az:// or file:///. Empty: a folder in the var folder.",
    )
    download_redirect_s: int = _setting(
        0,
        "Seconds that a signed link to the object store holds. DDI devices are sent there for their downloads, where"
        " blob_url is s3://, gs:// or az://. 0: Ringroad sends every image itself.",
        least=0,
        most=604_800,  # AWS Signature Version 4: at most seven days
    )
    http_host: str = _setting("127.0.0.1", "Address on which the console, the API and the gateways listen.")
    http_port: int = _setting(
        8080, "Port of the console, the management API and DDI.", least=1, most=PORT_MAX
    )
    https_port: int = _setting(8443, "Port of the native gateway, over TLS.", least=1, most=PORT_MAX)
    demand_engine: str = _setting(
        "local",
        "Where demand is forecast. local: processes of this machine, one per core. Else the master of a Spark, for"
        " example spark://host:7077, which needs pyspark and ringroad[demand] beside the worker.",
    )
    balance_every_s: int = _setting(
        86_400,
        "Seconds between two looks at the balance of a line whose work was told; work that was told anew is looked at"
        " at once.",
        least=1,
        most=31_536_000,
    )
    server_processes: int = _setting(
        1,
        "Server processes that share the ports, each with its own copy of the gateways' read model and up to 16"
        " connections to PostgreSQL.",
        least=1,
        most=32,
    )
    server_names: str = _setting(
        "localhost,127.0.0.1", "Names and addresses in the server's certificate, separated by commas."
    )
    trusted_proxies: str = _setting(
        "",
        "Addresses and networks of your reverse proxies, separated by commas. The caller whom one of them names in"
        " X-Forwarded-For is the one that failed logins slow down; X-Forwarded-Proto says whether it came over HTTPS."
        " Empty: nobody is believed.",
    )
    client_ca: str = _setting(
        "",
        "File with certificates, PEM, of authorities of your own whose client certificates devices may show; each names"
        " its vehicle by its VIN as common name. Certificates of Ringroad's own authority are always known.",
    )
    keys_offline: Path = _setting(  # noqa: RUF009 - immutable
        Path("keys-offline"), "Folder with the offline signing keys; only the command line opens it."
    )
    poll_s: int = _setting(
        60,
        "Seconds between two polls of a vehicle that has nothing to do, as long as polls_per_s_max allows it.",
        least=1,
        most=86_400,
    )
    poll_busy_s: int = _setting(
        5, "Seconds between two polls of a vehicle with an update open.", least=1, most=86_400
    )
    poll_soon_s: int = _setting(
        30,
        "Seconds between two polls of a vehicle that was chosen for an update and has no offer yet.",
        least=1,
        most=86_400,
    )
    poll_s_max: int = _setting(
        3_600,
        "Seconds that a vehicle is told to wait at most, however large the fleet or the load; poll_s if that is more.",
        least=1,
        most=86_400,
    )
    polls_per_s_max: int = _setting(
        4_000,
        "Polls a second of all vehicles together. Where they would be more, every vehicle is told to poll less often.",
        least=1,
        most=1_000_000,
    )
    reports_per_min_max: int = _setting(
        6_000,
        "Reports that one vehicle may hand in during a minute; beyond, it is asked to wait. Counted by each server.",
        least=1,
        most=1_000_000,
    )
    shed_lag_ms: int = _setting(
        2_000,
        "Milliseconds that a server process may be late, look after look, before it turns polls away; at four times"
        " that, downloads too. Reports are taken as long as they fit into the queue.",
        least=1,
        most=60_000,
    )
    session_h: int = _setting(12, "Hours a console login lasts.", least=1, most=720)
    telemetry_bytes_max: int = _setting(
        4 * 1024**3,
        "Bytes the telemetry stream may take on disk; new messages are refused beyond.",
        least=1024**2,
    )
    worker_interval_ms: int = _setting(
        250, "Milliseconds between two rounds of the worker when nothing wakes it.", least=10, most=60_000
    )
    detect_every_s: int = _setting(
        5, "Seconds between two looks for rising faults and due verdicts.", least=1, most=86_400
    )
    measure_tick_s: int = _setting(
        3_600,
        "Seconds of one tick of the fault measure; finer ticks cancel out shocks better.",
        least=1,
        most=86_400,
    )
    measure_gap_s: int = _setting(
        3_600,
        "Seconds between two observations of a vehicle that still count as time at risk.",
        least=1,
        most=604_800,
    )
    measure_exposure_s_min: int = _setting(
        3_600, "Vehicle-seconds at risk that a finding or a verdict needs.", least=1, most=1_000_000_000
    )
    accept_ratio_milli_min: int = _setting(
        0,
        "A rule accepts findings whose fault rate is surely at least this many thousandths of normal, and proposes"
        " the change; a person approves it. 0: people accept findings.",
        least=0,
        most=1_000_000,
    )
    events_source: str = _setting(
        "/ringroad",
        "Source of this installation's events, a URI or path: together with an event's id it is unique.",
    )
    webhook_networks: str = _setting(
        "",
        "Addresses and networks to which webhooks may go although they are not public, also by http://, separated by"
        " commas. Empty: public addresses only, by https://.",
    )
    log_level: str = _setting("info", "How much is logged: debug, info, warning or error.")

    def __post_init__(self) -> None:
        """Refuse values outside their limits."""
        for each in table():
            value = getattr(self, each.name)
            if (each.least is not None and value < each.least) or (
                each.most is not None and each.most < value
            ):
                top = "" if each.most is None else f" and at most {each.most}"
                raise InvalidInput(f"{each.name} is {value}; it must be at least {each.least}{top}")
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise InvalidInput(f"log_level is {self.log_level[:40]!r}", hint="debug, info, warning or error")
        if not _SOURCE.fullmatch(self.events_source):
            raise InvalidInput(
                f"events_source is {self.events_source[:80]!r}, which is no URI",
                hint="for example https://ringroad.example.com or /ringroad",
            )
        _ = self.webhook_allowed  # refuses what is no address
        _ = self.proxies  # refuses what is no address
        if not self.cert_names:
            raise InvalidInput("server_names is empty", hint="for example localhost,127.0.0.1")

    @property
    def cert_names(self) -> tuple[str, ...]:
        """The names and addresses in the server's certificate."""
        return tuple(name.strip() for name in self.server_names.split(",") if name.strip())

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return _networks(self.trusted_proxies, "trusted_proxies")

    @property
    def webhook_allowed(self) -> tuple[Network, ...]:
        """The networks of `webhook_networks`."""
        return _networks(self.webhook_networks, "webhook_networks")

    @property
    def webhook_key(self) -> Path:
        """The key from which webhook secrets are derived."""
        return self.var / "keys" / "webhooks.key"

    @property
    def postgres_home(self) -> Path:
        """The embedded PostgreSQL's folder."""
        return self.var / "postgres"

    @property
    def nats_home(self) -> Path:
        """The embedded NATS server's folder."""
        return self.var / "nats"

    @property
    def site(self) -> Path:
        """What a hub gave this installation, if it is a site."""
        return self.var / "site"

    @property
    def blobs(self) -> Path:
        """The blob folder when `blob_url` is empty."""
        return self.var / "blobs"

    @property
    def uploads(self) -> Path:
        """Where uploads wait while they are read."""
        return self.var / "uploads"

    @property
    def lake(self) -> Path:
        """The telemetry lake's folder."""
        return self.var / "lake"

    @property
    def pki(self) -> Path:
        """Our local CA and the server's certificate."""
        return self.var / "pki"

    @property
    def keys_online(self) -> Path:
        """The online signing keys."""
        return self.var / "keys" / "online"

    @property
    def run(self) -> Path:
        """Lock and state of running processes."""
        return self.var / "run"

    @property
    def log(self) -> Path:
        """Logs of our own processes."""
        return self.var / "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table."""

    name: str
    kind: type[Any]
    default: Any
    help: str
    secret: bool
    least: int | None
    most: int | None

    @property
    def env(self) -> str:
        """The environment variable."""
        return f"RINGROAD_{self.name.upper()}"

    def show(self, value: Any) -> str:
        """Return a value as text, a secret as stars."""
        return STARS if self.secret and value else str(value)


def table() -> Iterator[Setting]:
    """Yield every setting, in order."""
    for each in dataclasses.fields(Settings):
        yield Setting(name=each.name, kind=type(each.default), default=each.default, **each.metadata)


def _networks(text: str, setting: str) -> tuple[Network, ...]:
    return tuple(_network(word.strip(), setting) for word in text.split(",") if word.strip())


def _network(word: str, setting: str) -> Network:
    try:
        network = ip_network(word)
    except ValueError as error:
        raise InvalidInput(
            f"{setting} has {word[:80]!r}, which is no address or network",
            hint="for example 10.0.0.0/24, ::1",
        ) from error
    if network.prefixlen == 0:
        raise InvalidInput(f"{setting} has {word}, which is everybody", hint=_EVERYBODY[setting])
    return network
