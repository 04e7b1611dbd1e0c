"""The command line itself: how errors end it, and that every command answers `--json`."""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Iterator

import click
import pytest

from ringroad.cli import COMMANDS, cli, run
from ringroad.cli.errors import EXIT_STATUS, exit_status, print_error
from ringroad.kernel import errors
from ringroad.kernel.errors import RingroadError

KINDS = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, RingroadError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_error_has_its_own_exit_status(kind: type[RingroadError]) -> None:
    assert 0 < exit_status(kind("x")) < 64
    assert len(set(EXIT_STATUS.values())) == len(EXIT_STATUS)
    assert set(EXIT_STATUS) == {each.kind for each in KINDS}


def test_an_error_is_a_message_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(errors.Conflict("it moved", hint="look again", detail="secret"), as_json=False)
    assert capsys.readouterr().err == "error: it moved\nhint: look again\n"


def test_an_error_in_json_has_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(errors.Conflict("it moved", hint="look again", detail="secret"), as_json=True)
    told = {"kind": "conflict", "code": "conflict", "message": "it moved", "hint": "look again"}
    assert json.loads(capsys.readouterr().err) == {"error": told}


@pytest.mark.parametrize("words", [["nonsense"], ["up", "--nonsense"], ["--nonsense"]])
def test_a_wrong_command_line_ends_with_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words, {}) == 2
    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--json", "settings"], ["settings", "--json"]])
def test_json_may_stand_before_or_after_the_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, {}) == 0
    assert json.loads(capsys.readouterr().out)["http_port"] == "8080"


def test_an_error_of_ours_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings"], {"RINGROAD_NONSENSE": "1"}) == EXIT_STATUS["invalid_input"]
    assert capsys.readouterr().err.startswith("error: unknown setting RINGROAD_NONSENSE")


def everything() -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(cli)
    for name in COMMANDS:
        if importlib.util.find_spec(COMMANDS[name][0]) is None:
            continue
        command = cli.get_command(ctx, name)
        assert command is not None
        todo = [(name, command)]
        while todo:
            path, each = todo.pop()
            yield path, each
            if isinstance(each, click.Group):
                for below in each.list_commands(ctx):
                    found = each.get_command(ctx, below)
                    assert found is not None
                    todo.append((f"{path} {below}", found))


def test_every_command_has_help_and_json() -> None:
    for path, command in everything():
        assert command.help, path
        assert sum("--json" in each.opts for each in command.params if isinstance(each, click.Option)) == 1, (
            path
        )
