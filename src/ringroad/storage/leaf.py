"""A site's NATS server as a leaf of the hub's: what each side's configuration says, and the credentials between them.

A site is a plant with engines of its own. Its server dials the hub's, over TLS, and shows a token that the hub gave it.
Both have JetStream, each in a domain of its own, so that neither ever answers for the other.

Invariants:
    What a site may speak about at the hub is its own alone (`nats_auth.site_permissions`).
    The site dials, the hub never does; a site that cannot reach its hub is a whole NATS server all the same.

Source: NATS leaf nodes, JetStream domains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from ringroad.kernel.errors import Corrupt, InvalidInput
from ringroad.protocol.site import (
    DOWN_STREAM,
    DOWN_SUBJECTS,
    UP_STREAM,
    UP_SUBJECTS,
    check_site_name,
    down_subject,
    inbox_of,
    user_of,
)
from ringroad.storage.nats_auth import ACCOUNT, HUB_DOMAIN
from ringroad.storage.pki import Pki
from ringroad.storage.process import folder_error, write_private, write_whole
from ringroad.storage.streams import Place

UP_BYTES_MAX: Final = 256 * 1024**2  # bytes on the hub's disk that it has not read yet, of all sites
DOWN_BYTES_MAX: Final = 256 * 1024**2  # bytes on the hub's disk that sites have not fetched yet
DOWN_ACK_S: Final = 30.0  # seconds a site has to take a message before it is delivered again
RECONNECT_S: Final = 1  # seconds between two tries of a site to reach its hub
LOGIN_S_MAX: Final = 5  # seconds the hub has to answer a site's login

UP = Place(stream=UP_STREAM, subject=UP_SUBJECTS, consumer="hub", bytes_max=UP_BYTES_MAX)


_NEEDED: Final = ("site", "hub", "token", "ca")  # members of credentials
_MORE: Final = ("image_root", "director_root", "server_url", "mqtt")  # that an older hub does not write


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A hub: where sites' servers connect, and the certificate that they are shown."""

    host: str
    port: int
    pki: Pki


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a hub gives a site once: who it is, where the hub is, and how it knows it.

    Attributes:
        site: its name, that of its plant.
        hub: address of the hub's NATS server, host and port.
        token: the site's secret.
        ca: certificates, PEM, of the authority that signed the hub's.
        image_root: the first root of the Image repository; "" of a hub that had no keys.
        director_root: the same of the Director.
        server_url: where vehicles that are born here speak to the hub; "" of a hub before sites bore vehicles.
        mqtt: host and port, the same.
    """

    site: str
    hub: str
    token: str
    ca: str
    image_root: str = ""
    director_root: str = ""
    server_url: str = ""
    mqtt: str = ""

    def to_text(self) -> str:
        """Return the file's text."""
        return json.dumps(
            {"format": 1} | {name: getattr(self, name) for name in (*_NEEDED, *_MORE)}, indent=1
        )


def read_credentials(text: str, *, what: str) -> Credentials:
    """Read what `Credentials.to_text` wrote.

    Raises:
        InvalidInput: it is something else, or of a later version.
    """
    try:
        found = json.loads(text)
        if found["format"] != 1:
            raise InvalidInput(
                f"{what} is of another version of Ringroad", hint="install that version, or a later one"
            )
        parts = {name: str(found[name]) for name in _NEEDED}
        parts |= {name: str(found.get(name, "")) for name in _MORE}
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidInput(
            f"{what} is no site's credentials", hint="make them on the hub: ringroad site add"
        ) from error
    host, _, port = parts["hub"].rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9.:\[\]_-]{1,253}", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise InvalidInput(f"{what} has no address of a hub", hint="host:port")
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,128}", parts["token"]):
        raise InvalidInput(f"{what} has no token", hint="make them again on the hub: ringroad site add")
    check_site_name(parts["site"])
    return Credentials(**parts)


def store_credentials(folder: Path, given: Credentials) -> None:
    """Keep a site's credentials in its var folder. Raises: Unavailable."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(folder / "hub-ca.pem", given.ca.encode("ascii"), mode=0o600)
        write_private(folder / "credentials.json", given.to_text())
    except OSError as error:
        raise folder_error(error, folder) from error


def stored_credentials(folder: Path) -> Credentials | None:
    """Return the credentials of this installation; None: it is no site.

    Raises:
        Corrupt: they do not read back.
    """
    path = folder / "credentials.json"
    try:
        return read_credentials(path.read_text(encoding="ascii"), what=str(path))
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # what a file in the place of the folder means is said elsewhere
        return None
    except (InvalidInput, ValueError) as error:
        raise Corrupt(f"{path} does not read back", hint="join again: ringroad site join FILE") from error
    except OSError as error:
        raise folder_error(error, path) from error


def leaf_config(place: Listening | Credentials | None, *, folder: Path) -> str:
    """Return the part of a server's configuration about leaf nodes.

    Args:
        place: what the server is: a hub, a site, or neither.
        folder: where `store_credentials` put a site's.
    """
    match place:
        case None:
            return ""
        case Listening():
            return (
                f"leafnodes {{\n  listen: {_quoted(f'{place.host}:{place.port}')}\n"
                f"  tls {{ cert_file: {_quoted(str(place.pki.server_certificate))}, key_file:"
                f" {_quoted(str(place.pki.server_key))}, timeout: {LOGIN_S_MAX} }}\n"
                f"  authorization {{ timeout: {LOGIN_S_MAX} }}\n}}\n"
            )
        case Credentials():
            url = f"tls://{user_of(place.site)}:{place.token}@{place.hub}"
            return (
                f"leafnodes {{\n  reconnect: {RECONNECT_S}\n  remotes: [ {{ url: {_quoted(url)}, account: {ACCOUNT},"
                f" tls {{ ca_file: {_quoted(str(folder / 'hub-ca.pem'))}, timeout: {LOGIN_S_MAX} }} }} ]\n}}\n"
            )


async def open_link(nats_url: str, site: str) -> Client:
    """Connect to a site's own server, so that the hub's answers find back.

    Raises:
        OSError, nats.errors.Error: it does not answer.
    """
    return await nats.connect(
        nats_url, connect_timeout=5, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0.01,
        inbox_prefix=inbox_of(site), error_cb=_ignore,
    )  # fmt: skip


async def ensure_down(client: Client, sites: Sequence[str]) -> list[str]:
    """At the hub: make the stream of what sites are told, and each site's place in it.

    A site can have what its own place holds, and no other; what it has fetched is gone.

    Returns:
        Sites whose place is new: they were told nothing yet.
    """
    made = []
    js = client.jetstream()
    try:
        await js.stream_info(DOWN_STREAM)
    except NotFoundError:
        await js.add_stream(
            StreamConfig(
                name=DOWN_STREAM, subjects=[DOWN_SUBJECTS], storage=StorageType.FILE,
                retention=RetentionPolicy.WORK_QUEUE, max_bytes=DOWN_BYTES_MAX, max_msgs_per_subject=1,
                discard=DiscardPolicy.OLD,
            )
        )  # fmt: skip
    for site in sites:
        try:
            await js.consumer_info(DOWN_STREAM, user_of(site))
        except NotFoundError:
            await js.add_consumer(
                DOWN_STREAM,
                ConsumerConfig(
                    durable_name=user_of(site), filter_subject=down_subject(site, ">"),
                    ack_policy=AckPolicy.EXPLICIT, ack_wait=DOWN_ACK_S, max_ack_pending=1,
                ),
            )  # fmt: skip
            made.append(site)
    return made


async def fetch_down(client: Client, site: str, *, wait_s: float) -> Msg | None:
    """At a site: return the next message of its hub, if one comes in time.

    Raises:
        nats.errors.Error: the hub cannot be reached.
    """
    js = client.jetstream(domain=HUB_DOMAIN)
    place = await js.pull_subscribe_bind(consumer=user_of(site), stream=DOWN_STREAM)
    try:
        return (await place.fetch(1, timeout=wait_s))[0]
    except TimeoutError:
        return None
    finally:
        await place.unsubscribe()


async def _ignore(_error: Exception) -> None:
    """A hub that cannot be reached is nothing to print; whoever waits for it says so."""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
