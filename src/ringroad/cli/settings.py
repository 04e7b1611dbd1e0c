"""Reads settings: command line over environment over `ringroad.toml` over default.

An unknown setting stops the start: a typing error must not silently mean the default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.storage.settings import Setting, Settings, table

FILE = "ringroad.toml"
ENV_PREFIX = "RINGROAD_"
ENV_OF_OURS = frozenset(
    {"RINGROAD_CONFIG", "RINGROAD_PROGRAMME", "RINGROAD_SERVER", "RINGROAD_TOKEN"}
)  # not settings
FILE_BYTES_MAX = 1024**2  # bytes


def read_settings(
    *, file: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of this run.

    Args:
        file: a settings file that must exist; None looks for `ringroad.toml` here.
        env: the environment.
        overrides: from the command line; None values are left out.

    Raises:
        InvalidInput: an unknown setting, or a value that does not fit.
        NotFound: `file` was named and is not there.
    """
    kinds = {row.name: row.kind for row in table()}
    values: dict[str, Any] = {}
    values |= _from_file(file)
    values |= _from_env(env)
    values |= {name: kinds[name](value) for name, value in (overrides or {}).items() if value is not None}
    return Settings(**values)


def read_var(
    *, file: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Path:
    """Return the folder of everything that runs, whatever else is wrong with the settings: to stop it takes no more."""
    row = next(each for each in table() if each.name == "var")
    if (named := (overrides or {}).get(row.name) or env.get(row.env)) is not None:
        return Path(named)
    try:
        with (file or Path(FILE)).open("rb") as source:
            text = source.read(FILE_BYTES_MAX).decode(errors="replace")
    except OSError:
        return Path(row.default)
    for part in (text, *text.splitlines()):  # where the whole is no TOML, a line may be
        try:
            found = tomllib.loads(part).get(row.name)
        except tomllib.TOMLDecodeError:
            continue
        if isinstance(found, str):
            return Path(found)
    return Path(row.default)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known word, or where to find all."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else "ringroad settings shows all"


def _from_file(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE)
    try:
        with path.open("rb") as source:
            raw = source.read(FILE_BYTES_MAX)
    except FileNotFoundError as error:
        if file is None:
            return {}
        raise NotFound(f"there is no settings file {file}") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    try:
        document = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}") from error
    rows = {row.name: row for row in table()}
    unknown = sorted(document.keys() - rows.keys())
    if unknown:
        raise InvalidInput(
            f"unknown setting {unknown[0]!r} in {path}",
            hint=suggest(unknown[0], rows),
            code="unknown_setting",
        )
    return {name: _typed(rows[name], value, where=str(path)) for name, value in document.items()}


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    rows = {row.env: row for row in table()}
    found: dict[str, Any] = {}
    for name in sorted(env):
        if not name.startswith(ENV_PREFIX) or name in ENV_OF_OURS:
            continue
        row = rows.get(name)
        if row is None:
            raise InvalidInput(
                f"unknown setting {name} in the environment", hint=suggest(name, rows), code="unknown_setting"
            )
        found[row.name] = _typed(row, env[name], where="the environment")
    return found


def _typed(row: Setting, value: Any, *, where: str) -> Any:
    """Return `value` as the setting's type; a secret is never quoted in the message."""
    kind = int if row.kind is int else str
    if kind is int and isinstance(value, str) and value.strip().lstrip("-").isdigit():
        value = int(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        shown = row.show(value)[:40]
        wanted = "a whole number" if kind is int else "text"
        raise InvalidInput(f"{row.name} in {where} is {shown!r}; it must be {wanted}")
    return row.kind(value)


def settings_page() -> str:
    """Return the reference page of all settings, in Markdown."""
    lines = [
        "# Settings",
        "",
        "Made by `ringroad settings --page`; do not edit.",
        "",
        f"Each can be set in `{FILE}` (a flat TOML file in the current folder, or the one named by `--config`),",
        "or in the environment.",
        "The command line wins over the environment, the environment over the file, the file over the default.",
        "An unknown setting stops the start.",
        "",
        "| Setting | Environment | Default | Meaning |",
        "|---|---|---|---|",
    ]
    for row in table():
        default = f"`{row.default}`" if str(row.default) else "empty"
        limits = f" At least {row.least}." if row.least is not None else ""
        limits = f" From {row.least} to {row.most}." if row.most is not None else limits
        secret = " Secret: printed as stars." if row.secret else ""
        lines.append(f"| `{row.name}` | `{row.env}` | {default} | {row.help}{limits}{secret} |")
    return "\n".join(lines) + "\n"
