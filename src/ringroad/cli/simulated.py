"""What the commands that simulate share: where vehicles live, where logs go, how Ctrl-C ends them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from ringroad.kernel.errors import Unavailable
from ringroad.storage.settings import Settings

T = TypeVar("T")


def vehicles_folder(settings: Settings, given: Path | None) -> Path:
    """Return the folder of simulated vehicles: the one that was named, or `vehicles` in the var folder."""
    return (given or settings.var / "vehicles").absolute()


def shown(path: Path) -> str:
    """Return a path as short as it can be written here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextmanager
def logging_to_file(settings: Settings, name: str, *processors: structlog.typing.Processor) -> Iterator[Path]:
    """Send what the code logs to a file, so that the terminal has only what the command says; yield its path.

    `processors` see each line before it is written.

    Raises:
        Unavailable: the file cannot be written.
    """
    path = settings.log / f"{name}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            *processors,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(file),
    )
    try:
        yield path
    finally:
        structlog.configure(**before)
        file.close()


def run_until_told(work: Callable[[asyncio.Event], Awaitable[T]]) -> T:
    """Run `work` until it ends; the first SIGINT or SIGTERM asks it to, by the event, a second one ends it at once."""

    async def run() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)

        def ask() -> None:
            stop.set()
            for number in signals:
                loop.remove_signal_handler(number)

        for number in signals:
            loop.add_signal_handler(number, ask)
        return await work(stop)

    return asyncio.run(run())
