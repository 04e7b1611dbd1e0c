"""How our HTTP server is set up, wherever it runs: `ringroad serve`, tests and benchmarks use the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import uvicorn

from ringroad.http.express import ExpressProtocol

SHUTDOWN_S_MAX: Final = 5  # seconds for open requests; a resumable download goes on elsewhere
KEEP_ALIVE_S: Final = (
    20  # seconds an idle connection stays; a vehicle that is being updated speaks more often
)
BACKLOG: Final = 4_096  # connections waiting to be accepted; a fleet wakes up together

UVICORN: Final[Mapping[str, Any]] = {
    "http": ExpressProtocol,
    "ws": "none",
    "log_level": "warning",
    "access_log": False,
    "backlog": BACKLOG,
    "timeout_keep_alive": KEEP_ALIVE_S,
    "timeout_graceful_shutdown": SHUTDOWN_S_MAX,
    "server_header": False,
    "proxy_headers": False,  # an address a client claims is not one to throttle by
}


def has_express(config: uvicorn.Config) -> bool:
    """Say whether polls and reports go past ASGI: nothing that uvicorn was told to add hides the application."""
    if not config.loaded:
        config.load()
    return bool(getattr(config.loaded_app, "express_paths", ()))
