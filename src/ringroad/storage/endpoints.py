"""Where the engines are: settings with every empty address filled in from the var folder."""

from __future__ import annotations

import dataclasses

from ringroad.kernel.clock import Clock, SystemClock
from ringroad.kernel.errors import Unavailable
from ringroad.protocol.site import user_of
from ringroad.storage.broker import Broker
from ringroad.storage.leaf import Listening, leaf_config, stored_credentials
from ringroad.storage.nats_auth import HUB_DOMAIN
from ringroad.storage.pki import pki_in
from ringroad.storage.postgres import Postgres
from ringroad.storage.settings import Settings


def embedded_postgres(settings: Settings, clock: Clock) -> Postgres:
    """Return the embedded PostgreSQL of these settings, not started."""
    return Postgres(
        home=settings.postgres_home.resolve(), clock=clock, listen_port=settings.database_port or None
    )


def embedded_broker(settings: Settings, clock: Clock) -> Broker:
    """Return the embedded NATS server of these settings, not started; a hub's, or a site's leaf of it.

    Raises:
        Corrupt: the credentials of a site do not read back.
    """
    joined = stored_credentials(settings.site)
    listening = (
        Listening(host=settings.leaf_host, port=settings.leaf_port, pki=pki_in(settings.pki.resolve()))
        if settings.leaf_port
        else None
    )
    return Broker(
        name=user_of(joined.site) if joined else "ringroad",
        domain=user_of(joined.site) if joined else HUB_DOMAIN,
        leaf=leaf_config(joined or listening, folder=settings.site.resolve()),
        home=settings.nats_home.resolve(),
        clock=clock,
        port=settings.nats_port,
        mqtt_host=settings.mqtt_host,
        mqtt_port=settings.mqtt_port,
    )


def resolve(settings: Settings) -> Settings:
    """Return `settings` with `database_url`, `nats_url` and `blob_url` filled in.

    Raises:
        Unavailable: an embedded engine was never started in this var folder.
    """
    clock = SystemClock()
    try:
        return dataclasses.replace(
            settings,
            var=settings.var.resolve(),
            database_url=settings.database_url or embedded_postgres(settings, clock).url(),
            nats_url=settings.nats_url or embedded_broker(settings, clock).url(),
            blob_url=settings.blob_url or settings.blobs.resolve().as_uri(),
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"Ringroad was never started in {settings.var}",
            hint="start it with: ringroad up",
            code="not_started",
        ) from error
    except PermissionError as error:
        raise Unavailable(
            f"{error.filename} cannot be read by you", hint="run this as the user who ran: ringroad up"
        ) from error
