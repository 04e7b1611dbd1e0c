"""The other side of PyPI's rauc-hawkbit: RAUC on a D-Bus, as much of it as that client calls. Its HTTP is its own."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

INSTALLER = "de.pengutronix.rauc.Installer"
PROPERTIES = "org.freedesktop.DBus.Properties"


class Rauc:
    """Installs bundles whose sha256 it was told to take, and tells what D-Bus would."""

    def __init__(self, trusted_sha256: str) -> None:
        self.trusted_sha256 = trusted_sha256
        self.installed: list[bytes] = []
        self._callbacks: dict[tuple[str, str], Callable[..., None]] = {}

    def signal_subscribe(self, *asked: Any) -> int:
        """Keep whom to call; see Gio.DBusConnection."""
        _, interface, signal, *_, callback = asked
        self._callbacks[interface, signal] = callback
        return len(self._callbacks)

    def signal_unsubscribe(self, _number: int) -> None:
        """Stop nothing: it ends with the test."""

    def get_cached_property_names(self) -> list[str]:
        """Return what a real proxy has."""
        return ["Progress", "LastError"]

    def Install(self, _signature: str, path: str) -> None:  # noqa: N802 - RAUC's name
        """Install a bundle, as RAUC does: it returns at once and tells the rest."""
        content = Path(path).read_bytes()
        self._changed("Progress", (50, "Installing", 1))
        if hashlib.sha256(content).hexdigest() == self.trusted_sha256:
            self.installed.append(content)
            self._emit(INSTALLER, "Completed", (0,))
        else:
            self._changed("LastError", "signature verification failed")
            self._emit(INSTALLER, "Completed", (1,))

    def _changed(self, name: str, value: object) -> None:
        self._emit(PROPERTIES, "PropertiesChanged", (INSTALLER, {name: value}))

    def _emit(self, interface: str, signal: str, parameters: tuple[object, ...]) -> None:
        self._callbacks[interface, signal](None, "rauc", "/", interface, signal, parameters)


def client_class(patch: pytest.MonkeyPatch, rauc: Rauc) -> Any:
    """Import rauc-hawkbit's client with `rauc` where it looks for D-Bus."""
    glib = ModuleType("gi.repository.GLib")
    glib.Error = OSError  # type: ignore[attr-defined]
    gio = ModuleType("gi.repository.Gio")
    gio.BusType = type("BusType", (), {"SYSTEM": 1})  # type: ignore[attr-defined]
    gio.bus_get_sync = lambda *_: rauc  # type: ignore[attr-defined]
    gio.DBusProxy = type("DBusProxy", (), {"new_sync": staticmethod(lambda *_: rauc)})  # type: ignore[attr-defined]
    repository = ModuleType("gi.repository")
    repository.GLib, repository.Gio = glib, gio  # type: ignore[attr-defined]
    for name, module in (("gi", ModuleType("gi")), ("gi.repository", repository)):
        patch.setitem(sys.modules, name, module)
    for name in ("rauc_hawkbit.dbus_client", "rauc_hawkbit.rauc_dbus_ddi_client"):
        patch.delitem(sys.modules, name, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its patterns have escapes that Python does not like any more
        from rauc_hawkbit.rauc_dbus_ddi_client import RaucDBUSDDIClient  # noqa: PLC0415 - after the patches
    return RaucDBUSDDIClient


@asynccontextmanager
async def polling(make: Callable[[], Any]) -> AsyncIterator[Any]:
    """Let a client poll until the block ends."""
    client = make()
    task = asyncio.create_task(client.start_polling(1))
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        client.cleanup_dbus()
        await asyncio.gather(client.dbus_event_task, return_exceptions=True)
