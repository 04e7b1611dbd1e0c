"""Settings: one table; where a value comes from; what is refused; what is printed."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from pathlib import Path

import pytest

from ringroad.cli import run
from ringroad.cli.settings import read_settings, read_var, settings_page
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.storage.process import command_of, spawn
from ringroad.storage.settings import STARS, Settings, table

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_need_no_file() -> None:
    assert read_settings(file=None, env={}) == Settings()


def test_command_line_over_environment_over_file_over_default(here: Path) -> None:
    (here / "ringroad.toml").write_text('http_port = 1001\nhttps_port = 1002\nnats_port = 1003\nvar = "x"\n')
    env = {"RINGROAD_HTTPS_PORT": "2002", "RINGROAD_NATS_PORT": "2003", "HOME": "/"}
    found = read_settings(file=None, env=env, overrides={"nats_port": 3003, "var": None})
    assert (found.http_port, found.https_port, found.nats_port) == (1001, 2002, 3003)
    assert found.var == Path("x")
    assert found.mqtt_port == Settings().mqtt_port


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("http_prot = 1", "did you mean http_port?"),
        ("zzz = 1", "ringroad settings"),
        ("http_port = 'x'", "whole number"),
        ("http_port = true", "whole number"),
        ("http_port = 70000", "at most 65535"),
        ("http_port = 0", "at least 1"),
        ("var = 5", "must be text"),
        ("log_level = 'loud'", "debug, info"),
        ("server_names = ' , '", "server_names"),
        ("[server]\nhttp_port = 1", "server"),
        ("http_port = ", "not TOML"),
        ("\x00", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(here: Path, text: str, word: str) -> None:
    (here / "ringroad.toml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_settings(file=None, env={})
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "var"),
    [
        ("http_prot = 1", "var"),
        ('var = "x"\nhttp_port = "y"', "x"),
        ('trusted_proxies = "10.0.0.0/33"\nvar = "x"', "x"),
        ('http_port = \nvar = "x"  # ours\n', "x"),
        ("\x00", "var"),
        ("var = 5", "var"),
    ],
)
def test_what_runs_is_found_whatever_is_wrong_with_the_settings(here: Path, text: str, var: str) -> None:
    (here / "ringroad.toml").write_text(text)
    assert read_var(file=None, env={}) == Path(var)
    assert read_var(file=None, env={"RINGROAD_VAR": "env"}) == Path("env")
    assert read_var(file=here / "missing.toml", env={}, overrides={"var": Path("mine")}) == Path("mine")


def test_broken_settings_keep_nobody_from_stopping_what_runs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "ringroad.toml").write_text('server_names = ["a", "b"]\nvar = "x"\n')
    process = spawn([sys.executable, "-c", "import time; time.sleep(60)", "ringroad"], log=here / "log")
    try:
        deadline_s = time.monotonic() + 60
        while "ringroad" not in command_of(process.pid):  # a program that begins has no command for a moment
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        (here / "x" / "run").mkdir(parents=True)
        (here / "x" / "run" / "state.json").write_text(json.dumps({"pid": process.pid}))
        assert run(["down"], {}) == 0
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
        process.wait(timeout=60)
    told = capsys.readouterr()
    assert told.out == "stopped\n"
    assert "server_names in ringroad.toml is" in told.err
    assert run(["status"], {}) != 0  # everything else says what is wrong, and does nothing


@pytest.mark.parametrize("name", ["RINGROAD_HTTP_PROT", "RINGROAD_", "RINGROAD_http_port"])
def test_an_unknown_name_in_the_environment_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_settings(file=None, env={name: "1"})
    assert caught.value.code == "unknown_setting"


@pytest.mark.parametrize("source", ["", "two words", "a\nb", "ä"])
def test_a_source_of_events_that_is_no_uri_is_refused(source: str) -> None:
    with pytest.raises(InvalidInput):
        Settings(events_source=source)


def test_a_named_file_must_be_there(here: Path) -> None:
    with pytest.raises(NotFound):
        read_settings(file=here / "missing.toml", env={})


def test_secrets_are_never_printed(here: Path) -> None:
    secret = "postgresql://me:s3cret@host/db"
    found = read_settings(
        file=None, env={"RINGROAD_DATABASE_URL": secret, "RINGROAD_NATS_URL": "nats://a:s3cret@h"}
    )
    assert found.database_url == secret
    assert "s3cret" not in repr(found)
    shown = {row.name: row.show(getattr(found, row.name)) for row in table()}
    assert shown["database_url"] == shown["nats_url"] == STARS
    (here / "ringroad.toml").write_text("database_url = ['s3cret']")
    with pytest.raises(InvalidInput) as caught:
        read_settings(file=None, env={})
    assert "s3cret" not in str(caught.value)


def test_every_setting_is_in_the_table_with_help() -> None:
    rows = list(table())
    assert [row.name for row in rows] == [each.name for each in dataclasses.fields(Settings)]
    assert all(row.help.endswith(".") for row in rows)
    assert all(row.least is not None for row in rows if row.kind is int)


def test_every_setting_is_read_by_something() -> None:
    sources = [path.read_text("utf-8") for path in (Path(__file__).parents[3] / "src").rglob("*.py")]
    unread = [
        item.name
        for item in dataclasses.fields(Settings)
        if not any(re.search(rf"\.{item.name}\b", text) for text in sources)
    ]
    assert unread == []


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == settings_page(), (
        "write it again: ringroad settings --page > docs/reference/settings.md"
    )
