from __future__ import annotations

import shlex
import stat
from pathlib import Path

import click
import httpx
import msgspec
import pytest

from ringroad.cli import COMMANDS, cli
from ringroad.cli.client import Address, Client, error_of, find_access, find_address
from ringroad.cli.errors import EXIT_STATUS, exit_status
from ringroad.cli.names import programme_of
from ringroad.cli.reference import MEANING, cli_page
from ringroad.cli.tokens import Entry, Tokens, find_tokens
from ringroad.kernel.errors import Corrupt, Forbidden, InvalidInput, RingroadError, Unavailable
from ringroad.storage.settings import Settings

CLIENT_GROUPS = (
    "complaint", "finding", "change", "programme", "package", "release", "order", "schedule", "plant", "campaign", "fleet",
    "lap", "account",
)  # fmt: skip
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://localhost:9000/", "http://localhost:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://ringroad.example.com", "https://ringroad.example.com"),
        ("ringroad.example.com:8443", "https://ringroad.example.com:8443"),
    ],
)
def test_an_address_is_read(server: str, url: str) -> None:
    assert find_address(Settings(), server).url == url


@pytest.mark.parametrize(
    ("named", "env", "found"),
    [
        ("owl", {}, "owl"),
        ("owl", {"RINGROAD_PROGRAMME": "wren"}, "owl"),
        (None, {"RINGROAD_PROGRAMME": "wren"}, "wren"),
        (None, {"RINGROAD_PROGRAMME": ""}, None),
        (None, {}, None),
    ],
)
def test_of_several_programmes_the_environment_may_say_which_is_meant(
    named: str | None, env: dict[str, str], found: str | None
) -> None:
    access = find_access(Settings(), env=env | {"RINGROAD_TOKEN": "t"})

    def two(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[{"id": "owl"}, {"id": "wren"}])

    with httpx.Client(transport=httpx.MockTransport(two)) as http:
        client = Client(access.address, token="t", http=http, programme=access.programme)
        if found is not None:
            assert programme_of(client, named) == found
            return
        with pytest.raises(InvalidInput, match="several programmes") as refused:
            programme_of(client, named)
    assert refused.value.hint == "name one with --programme, or in RINGROAD_PROGRAMME: owl, wren"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - everywhere includes here
        ("::1", "http://[::1]:8080"),
        ("10.0.0.5", "https://10.0.0.5:8443"),  # beyond this machine only over TLS
    ],
)
def test_the_settings_name_the_server(host: str, url: str) -> None:
    assert find_address(Settings(http_host=host), "").url == url


@pytest.mark.parametrize(
    "server",
    [
        "http://ringroad.example.com",  # would send the token in the clear
        "http://10.0.0.5:8080",
        "ftp://127.0.0.1",
        "https://",
        "https://host/path",
        "https://name:secret@host",
        "http://127.0.0.1:notaport",
    ],
)
def test_another_address_is_refused(server: str) -> None:
    with pytest.raises(InvalidInput):
        find_address(Settings(), server)


def test_an_address_with_a_password_in_it_is_not_repeated_to_a_server() -> None:
    with pytest.raises(InvalidInput):
        find_access(Settings(), env={}, server="https://me:secret@host")


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_input", 2),
        (422, "invalid_input", 2),
        (404, "not_found", 3),
        (409, "conflict", 4),
        (401, "unauthenticated", 5),
        (403, "forbidden", 5),
        (422, "untrusted", 6),
        (429, "too_many", 7),
        (503, "unavailable", 7),
        (500, "corrupt", 8),
        (500, "error", 1),
        (500, "a_kind_of_a_newer_server", 1),
    ],
)
def test_each_kind_of_error_has_its_exit_status(status: int, kind: str, expected: int) -> None:
    error = error_of(status, _body(kind=kind), token="t")
    assert exit_status(error) == expected


def test_an_error_keeps_what_the_server_said() -> None:
    error = error_of(409, _body(kind="conflict", code="moved", message="it moved", hint="look"), token="t")
    assert (error.code, error.message, error.hint) == ("moved", "it moved", "look")


@pytest.mark.parametrize(
    ("token", "words"), [("", "nobody is signed in"), ("t", "not valid any more"), (None, "wrong password")]
)
def test_a_missing_an_old_and_a_refused_login_are_told_apart(token: str | None, words: str) -> None:
    error = error_of(401, _body(kind="unauthenticated", message="wrong password", hint="h"), token=token)
    assert words in error.message


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[]", b'{"error": "no"}', b'{"error": {"kind": "x"}}', b"\xff"]
)
def test_an_answer_that_is_not_ours_is_unavailable(content: bytes) -> None:
    assert isinstance(error_of(502, content, token=""), Unavailable)


def test_a_stored_token_is_only_for_its_owner_and_its_server(tmp_path: Path) -> None:
    first = Tokens(path=tmp_path / "new" / "tokens.json", url="http://127.0.0.1:1")
    second = Tokens(path=first.path, url="http://127.0.0.1:2")
    first.put(Entry(account="ines", token="rr_1"))
    second.put(Entry(account="ole", token="rr_2"))
    assert (first.get(), second.get()) == ("rr_1", "rr_2")
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600
    assert first.drop()
    assert (first.get(), second.get()) == ("", "rr_2")
    assert not first.drop()
    assert [path.name for path in first.path.parent.iterdir()] == ["tokens.json"]


def test_a_second_account_beside_the_first_is_taken_only_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    taken, ole, ines = (Tokens(path=path, url="u", account=name) for name in ("", "ole", "ines"))
    taken.put(Entry(account="ines", token="rr_1"))
    ole.put(Entry(account="ole", token="rr_2"))
    assert (taken.get(), ole.get(), ines.get()) == ("rr_1", "rr_2", "rr_1")
    assert ole.drop()
    with pytest.raises(Forbidden):
        ole.get()
    assert taken.get() == "rr_1"


def test_who_signs_in_without_as_is_taken_from_then_on_and_the_other_stays(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    taken, ole, ines = (Tokens(path=path, url="u", account=name) for name in ("", "ole", "ines"))
    taken.put(Entry(account="ines", token="rr_1"))
    taken.put(Entry(account="ole", token="rr_2"))
    assert (taken.get(), ole.get(), ines.get()) == ("rr_2", "rr_2", "rr_1")
    assert taken.drop()
    assert (taken.get(), ines.get()) == ("", "rr_1")
    with pytest.raises(Forbidden):
        ole.get()


def test_a_file_of_an_older_version_knows_whose_token_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text('{"u": {"account": "ines", "token": "rr_1"}}')
    assert Tokens(path=path, url="u", account="ines").get() == "rr_1"
    assert Tokens(path=path, url="u", account="ines").drop()
    assert Tokens(path=path, url="u").get() == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"u": {"token": 1}}', b"\xff\xfe"])
def test_a_damaged_token_file_is_reported_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    tokens = Tokens(path=path, url="u")
    with pytest.raises(Corrupt):
        tokens.put(Entry(account="ines", token="rr_1"))
    assert path.read_bytes() == content


def test_tokens_lie_with_our_installation_or_else_with_the_person(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    env = {"HOME": "/home/ines"}
    here, elsewhere = Address(url="a", ca=None, local=True), Address(url="b", ca=None, local=False)
    assert _place(settings, env, here) == Path("/home/ines/.config/ringroad/tokens.json")
    settings.run.mkdir(parents=True)
    assert _place(settings, env, here) == settings.run / "tokens.json"
    assert _place(settings, env, elsewhere) == Path("/home/ines/.config/ringroad/tokens.json")
    assert _place(settings, {"XDG_CONFIG_HOME": "/c"}, elsewhere) == Path("/c/ringroad/tokens.json")


def test_every_client_command_shows_an_example_that_the_command_line_can_read() -> None:
    shown = 0
    for name in CLIENT_GROUPS:
        group = cli.get_command(click.Context(cli, **cli.context_settings), name)
        assert isinstance(group, click.Group)
        for words, command in _leaves(group, ("ringroad", name)):
            lines = _joined(command.epilog or "")
            assert any(" ".join(words) in line for line in lines), f"{words} has no example of itself"
            for line in lines:
                _parse(line.split("   ", 1)[0])
                shown += 1
    assert shown > 40


def test_every_command_of_the_table_says_what_it_does() -> None:
    assert all(text.endswith(".") for _, _, text in COMMANDS.values())


def test_every_exit_status_is_explained() -> None:
    assert MEANING.keys() == EXIT_STATUS.keys()


def test_the_reference_page_is_that_of_this_program() -> None:
    told = "python -m ringroad.cli.reference > docs/reference/cli.md"
    assert PAGE.read_text(encoding="utf-8") == cli_page(), f"make it again: {told}"


def _place(settings: Settings, env: dict[str, str], address: Address) -> Path:
    return find_tokens(settings, env, url=address.url, local=address.local).path


def _body(*, kind: str, code: str = "c", message: str = "m", hint: str = "") -> bytes:
    return msgspec.json.encode({"error": {"kind": kind, "code": code, "message": message, "hint": hint}})


def _leaves(group: click.Group, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += _leaves(command, (*words, name))
        else:
            found.append(((*words, name), command))
    return found


def _joined(epilog: str) -> list[str]:
    """Return the examples, each on one line."""
    lines: list[str] = []
    for line in epilog.splitlines()[2:]:
        if lines and lines[-1].endswith("\\"):
            lines[-1] = f"{lines[-1][:-1]}{line.strip()}"
        else:
            lines.append(line.strip())
    return lines


def _parse(line: str) -> None:
    """Read one example as the shell and click would; options that do not exist fail here."""
    words = shlex.split(line)
    words = words[words.index("ringroad", 1 if "=" in words[0] else 0) + 1 :]
    words = [word.rstrip(")") for word in words] if "$(" in line else words
    command: click.Command = cli
    ctx = click.Context(cli, info_name="ringroad", **cli.context_settings)
    while isinstance(command, click.Group):
        found = command.get_command(ctx, words.pop(0))
        assert found is not None, line
        command = found
    try:
        _, left, _ = command.make_parser(click.Context(command, parent=ctx)).parse_args(words)
        assert not left, f"{line}: {left} is too much"
    except click.UsageError as error:
        raise RingroadError(f"{line}: {error}") from error
