"""Where vehicles of a simulated plant will live, and what stands for the plant in their VINs."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from ringroad.cli.client import Client
from ringroad.kernel.errors import Conflict, NotFound
from ringroad.sim.assembly import Surroundings
from ringroad.storage.settings import Settings

FIRST_ROOT: Final = "1.root.json"  # vehicles find their way from there
OWN_VIN_PLANT: Final = "A"  # of the line of a hub, and of one that has no sites


def surroundings(settings: Settings, url: str) -> Surroundings:
    """Return where vehicles born here will live: addresses of the server, and its roots of trust.

    Raises:
        NotFound: the roots or the certificate authority are not in the var folder.
    """
    from ringroad.storage.leaf import stored_credentials  # noqa: PLC0415 - most commands of plants need no NATS

    host = urlsplit(url).hostname or ""
    server_url = f"https://{f'[{host}]' if ':' in host else host}:{settings.https_port}"
    mqtt_port, authority = settings.mqtt_port, settings.pki / "ca.pem"
    joined = stored_credentials(settings.site)
    if joined is not None and joined.server_url:  # its vehicles will speak to the hub
        server_url, authority = joined.server_url, settings.site / "hub-ca.pem"
        host, _, port = joined.mqtt.rpartition(":")
        mqtt_port = int(port) if port.isdecimal() else mqtt_port
    try:
        return Surroundings(
            server_url=server_url,
            mqtt_host=host,
            mqtt_port=mqtt_port,
            ca_pem=authority.read_bytes(),
            image_root=(settings.var / "keys" / "image" / FIRST_ROOT).read_bytes(),
            director_root=(settings.var / "keys" / "director" / FIRST_ROOT).read_bytes(),
            telemetry_s=settings.poll_s,
        )
    except OSError as error:
        raise NotFound(
            f"{error.filename} is not here: {error.strerror}",
            hint="the plant needs the server's roots of trust: its var/keys without `online`, and var/pki/ca.pem",
        ) from error


def vin_plant(settings: Settings, client: Client) -> str:
    """Return what stands for this plant in its VINs. Raises: Conflict, its hub gave it no place yet."""
    from ringroad.storage.leaf import stored_credentials  # noqa: PLC0415 - same

    if stored_credentials(settings.site) is None:
        return OWN_VIN_PLANT
    found: str | None = client.get("/site")["vin_plant"]
    if found is None:
        raise Conflict(
            "this site has no place in VINs yet", hint="its hub gives it one; ringroad site status"
        )
    return found
