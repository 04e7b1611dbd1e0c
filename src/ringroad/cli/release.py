"""`ringroad release`: what is installed together; created, checked, signed."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringroad.build.release_shape import rxswins_of
from ringroad.cli.client import Client
from ringroad.cli.groups import (
    EXIT_NO,
    ClientGroup,
    confirm,
    example,
    limited,
    read_text,
    show_page,
    with_client,
)
from ringroad.cli.names import programme_of
from ringroad.cli.release_downgrade import approve_downgrade, decided, document_of_marks, marked
from ringroad.cli.release_file import document_of_file, document_of_options, read_file
from ringroad.cli.release_import import import_release
from ringroad.cli.release_key import keys
from ringroad.cli.shell import Shell
from ringroad.cli.tables import blocks, details, exactly, problems, size, table, tail, when
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.limits import METADATA_BYTES_MAX, PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted
from ringroad.ship.reason_words import reason_words

NAMES = ("version", "name")
TERMS_MAX = 3  # ECUs of a query that is shown; the others come with them
FILE_BYTES_MAX = 1024**2  # bytes; 64 variants of 256 ECUs take 500 kB


@click.group("release", cls=ClientGroup)
def group() -> None:
    """Releases: packages for every variant, checked as a whole, signed by the offline keys."""


group.add_command(import_release)
group.add_command(approve_downgrade)
group.add_command(keys)


@group.command(
    "create",
    epilog=example(
        "ringroad release create --name Winter --version 2.1.0 --package brake@2.1.0 --package gateway@1.4.0",
        "ringroad release create winter.toml",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option("--name", help="What people call it.")
@click.option("--version", help="Its version.")
@click.option("--change", help="The change that it carries out.")
@click.option(
    "--package", "packages", multiple=True, help="ECU@VERSION or an id; to every variant with that ECU."
)
@click.option("--group", "groups", multiple=True, help="NAME=ECU,ECU: together or not at all; in this order.")
@click.option("--post-check", "post_checks", multiple=True, help="ECU=KIND: what must hold after the start.")
@click.option(
    "--precondition",
    "preconditions",
    multiple=True,
    help="What must hold before an ECU is touched: Vehicle.Speed == 0.",
)
@click.option("--notes", default="", help="What changes, for the vehicle's owner.")
@click.option(
    "--rxswin",
    "rxswins",
    multiple=True,
    help="SYSTEM=RXSWIN: software identification number of a type-approved system.",
)
@click.option(
    "--back", multiple=True, help="ECU=VERSIONS: take this ECU back from these newer versions, on purpose."
)
@click.option("--back-reason", default="", help="Why; another person approves it.")
@with_client
def create(
    shell: Shell,
    client: Client,
    *,
    file: Path | None,
    programme: str | None,
    name: str | None,
    version: str | None,
    change: str | None,
    packages: tuple[str, ...],
    groups: tuple[str, ...],
    post_checks: tuple[str, ...],
    preconditions: tuple[str, ...],
    notes: str,
    rxswins: tuple[str, ...],
    back: tuple[str, ...],
    back_reason: str,
) -> None:
    """Create a release as a draft.

    From FILE (TOML or JSON), or from options.
    """
    if file is not None:
        if packages or groups or post_checks or preconditions or notes or rxswins or back or back_reason:
            raise InvalidInput("a release comes from a file or from options, not from both")
        content = read_file(read_text(file, bytes_max=FILE_BYTES_MAX), filename=str(file))
        programme = programme_of(client, programme or content.get("programme"))
        document = document_of_file(content, _packages_of(client, programme))
        name, version = name or content["name"], version or content["version"]
        change = change or content.get("change")
    else:
        if not (name and version and packages):
            raise InvalidInput("a release needs FILE, or --name, --version and --package")
        programme = programme_of(client, programme)
        row = client.get(f"/programmes/{programme}")
        document = document_of_options(
            row["document"],
            _packages_of(client, programme),
            words=packages,
            groups=groups,
            post_checks=post_checks,
            preconditions=preconditions,
            notes=notes,
            rxswins=rxswins,
        ) | document_of_marks(back, back_reason)
    body = {"programme_id": programme, "name": name, "version": version, "document": document}
    if change:
        body["change_id"] = client.find("/changes", change, names=("title",))["id"]
    made = client.post("/releases", body)
    shell.show(
        made, text=f"release {made['id']}\n{_summary(made)}\nnext: ringroad release check {tail(made['id'])}"
    )


@group.command("check", epilog=example("ringroad release check 2.1.0"))
@click.argument("release")
@with_client
def check(shell: Shell, client: Client, *, release: str) -> int:
    """Check a release as a whole.

    Exit status 1 when something blocks it.
    """
    row = client.find("/releases", release, names=NAMES)
    row = client.post(f"/releases/{row['id']}/check", {"generation": row["generation"]})
    found = row["findings"] or []
    stopped = blocks(found)
    blocking = sum(each["severity"] == "blocking" for each in found)
    verb = "approve-downgrade" if row["document"].get("downgrade") and not row["downgrades"] else "sign"
    verdict = (
        f"{row['name']} {row['version']} cannot be signed: {blocking} blocking"
        if stopped
        else f"{row['name']} {row['version']} is {row['state']}; next: ringroad release {verb} {tail(row['id'])}"
    )
    shell.show(row, text="\n".join(part for part in (problems(found), verdict) if part))
    return EXIT_NO if stopped else 0


@group.command(
    "sign",
    epilog=example(
        "ringroad release sign 2.1.0",
        "ringroad release sign 2.1.0 --export pending.json     (keys elsewhere: ringroad keys sign-targets)",
        "ringroad release sign 2.1.0 --signed signed.json",
    ),
)
@click.argument("release")
@click.option(
    "--offline",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the offline keys; default: the setting keys_offline.",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The passphrase of the offline keys, on its first line.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what must be signed to this file, and stop.",
)
@click.option(
    "--signed",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Hand in this file, signed elsewhere.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def sign_release(
    shell: Shell,
    client: Client,
    *,
    release: str,
    offline: Path | None,
    passphrase_file: Path | None,
    export: Path | None,
    signed: Path | None,
    yes: bool,
) -> None:
    """Sign its images with the offline keys, and publish them.

    What will be signed is shown first.
    With fewer keys at hand than the threshold, export it, have it signed, and hand it in.
    """
    row = client.find("/releases", release, names=NAMES)
    if row["state"] == "signed":
        shell.show(row, text=f"{row['name']} {row['version']} is signed already")
        return
    if row["state"] != "checked":
        raise Conflict(
            f"{row['name']} {row['version']} is {row['state']}; only a checked release can be signed",
            hint=f"ringroad release check {tail(row['id'])}",
        )
    if signed is not None:
        content = read_text(signed, bytes_max=METADATA_BYTES_MAX)
        _hand_in(shell, client, row, content)
        return
    pending = client.get(f"/releases/{row['id']}/pending-targets")
    if not pending["needed"]:
        shell.say("its images are published already")
        _hand_in(shell, client, row, "")
        return
    payload = str(pending["payload"])
    if export is not None:
        _write_new(export, payload)
        shell.show(
            {"file": str(export), "release_id": row["id"]},
            text=f"wrote {export}; sign it with: ringroad keys sign-targets {export} --out signed.json",
        )
        return
    _show_targets(client, row, payload)
    confirm("Sign these images?", yes=yes)
    _hand_in(shell, client, row, _signed(shell, payload, offline=offline, passphrase_file=passphrase_file))


@group.command("list", epilog=example("ringroad release list --state signed"))
@click.option("--programme", help="Only of this programme.")
@click.option(
    "--state", type=click.Choice(["draft", "checked", "signed", "withdrawn"]), help="Only in this state."
)
@limited()
@with_client
def list_releases(
    shell: Shell, client: Client, *, programme: str | None, state: str | None, limit: int, offset: int
) -> None:
    """List releases, newest first."""
    rows = client.get("/releases", programme_id=programme, state=state, limit=limit, offset=offset)
    text = table(
        ("id", "name", "version", "state", "on the line", "confirmed last", "created", "by"),
        (
            (
                tail(row["id"]),
                row["name"],
                row["version"],
                row["state"],
                "yes" if row["on_line"] else "",
                row["vehicles"],
                when(row["created_at"]),
                row["created_by"],
            )
            for row in rows
        ),
        empty="no release yet; ringroad release create",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad release show 2.1.0", "ringroad release show 7k3mfq2a --json"))
@click.argument("release")
@with_client
def show(shell: Shell, client: Client, *, release: str) -> None:
    """Show a release: packages per variant, groups, findings.

    RELEASE is an id, its end, a version or a name.
    """
    row = client.find("/releases", release, names=NAMES)
    packages = {each["id"]: each for each in _packages_of(client, row["programme_id"])}
    document = row["document"]
    head = details(
        (
            ("release", row["id"]),
            ("name", f"{row['name']} {row['version']}"),
            ("programme", row["programme_id"]),
            ("state", row["state"] + (", on the line" if row["on_line"] else "")),
            ("halted", [halted_text(each) for each in row.get("halted", [])]),
            ("change", row["change_id"]),
            ("lap", row["lap_id"]),
            ("confirmed last", f"by {counted(row['vehicles'], 'vehicle')}"),
            ("who runs it", _runs_it(document, packages)),
            ("created", f"{exactly(row['created_at'])} by {row['created_by']}"),
            ("signed", exactly(row["signed_at"]) if row["signed_at"] else ""),
            ("generation", row["generation"]),
            ("groups", [_group(each) for each in document.get("groups", [])]),
            ("post checks", [f"{each['ecu']} {each['kind']}" for each in document.get("post_checks", [])]),
            ("preconditions", document.get("preconditions")),
            ("goes back", _goes_back(row)),
            ("rxswin", [f"{system} {number}" for system, number in rxswins_of(document).items()]),
            ("notes", document.get("notes")),
        )
    )
    lines = table(
        ("variant", "ecu", "version", "package", "file"),
        (
            (variant, ecu, *_package_cells(packages.get(package_id), package_id))
            for variant, ecus in document["variants"].items()
            for ecu, package_id in ecus.items()
        ),
    )
    untouched = [_untouched(*each) for each in document.get("untouched", {}).items() if each[1]]
    parts = [
        head,
        lines,
        "\n".join(untouched),
        "\n".join(decided(row["downgrades"])),
        problems(row["findings"] or []),
    ]
    shell.show(row, text="\n\n".join(part for part in parts if part))


def _runs_it(document: Mapping[str, Any], packages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return how to find who runs a release's software whatever they confirmed after it; empty for one of no package."""
    for variant, ecus in sorted(document["variants"].items()):
        terms = [
            f"ecu.{ecu}.version = {packages[each]['version']}"
            for ecu, each in sorted(ecus.items())
            if each in packages
        ]
        if terms:
            return f"ringroad fleet query 'variant = {variant} and {' and '.join(terms[:TERMS_MAX])}'"
    return ""


@group.command("deltas", epilog=example("ringroad release deltas 2.1.0"))
@click.argument("release")
@with_client
def deltas(shell: Shell, client: Client, *, release: str) -> None:
    """List the deltas to a release's images: from what vehicles run, made by the worker in the background.

    RELEASE is an id, its end, a version or a name. A vehicle for which there is none fetches the whole image.
    """
    row = client.find("/releases", release, names=NAMES)
    found = client.get(f"/releases/{row['id']}/deltas")
    lines = table(
        ("ecu", "from", "to", "vehicles", "state", "image", "delta", "format, or why not"),
        (
            (
                each["ecu"], each["from_version"], each["to_version"], each["vehicles"], each["state"],
                size(each["image_bytes"]), size(each["delta_bytes"]) if each["delta_bytes"] else "",
                each["algorithm"] or each["reason"],
            )
            for each in found
        ),
    )  # fmt: skip
    ready = sum(each["state"] == "ready" for each in found)
    full = sum(each["full_bytes"] for each in found)
    sent = full - sum(each["saved_bytes"] for each in found)
    text = f"{lines}\n\n{ready} of {len(found)} ready: {size(sent)} over the air for these vehicles instead of {size(full)}"
    shell.show(found, text=text if found else "no vehicle that is known runs anything older")


@group.command("withdraw", epilog=example("ringroad release withdraw 2.1.0 --reason 'brake noise'"))
@click.argument("release")
@click.option("--reason", required=True, help="Why, for the record.")
@with_client
def withdraw(shell: Shell, client: Client, *, release: str, reason: str) -> None:
    """Withdraw a release: no campaign and no line may take it any more."""
    row = client.find("/releases", release, names=NAMES)
    row = client.post(f"/releases/{row['id']}/withdraw", {"reason": reason, "generation": row["generation"]})
    shell.show(row, text=f"{row['name']} {row['version']} is {row['state']}")


@group.group("baseline", cls=ClientGroup)
def baseline() -> None:
    """What new vehicles are flashed with at the end of the line."""


@baseline.command("set", epilog=example("ringroad release baseline set 2.1.0"))
@click.argument("release")
@with_client
def set_baseline(shell: Shell, client: Client, *, release: str) -> None:
    """Flash new vehicles with RELEASE from now on; the line replans."""
    row = client.find("/releases", release, names=NAMES)
    done = client.post(f"/releases/{row['id']}/baseline", {})
    shell.show(done, text=f"new vehicles get {row['name']} {row['version']}")


def _packages_of(client: Client, programme: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get("/packages", programme_id=programme, limit=PAGE_ROWS_MAX)
    return rows


def _summary(row: Mapping[str, Any]) -> str:
    document = row["document"]
    lines = [
        f"{variant}: {len(ecus)} of {len(ecus) + len(document.get('untouched', {}).get(variant, []))} ECUs change"
        for variant, ecus in document["variants"].items()
    ]
    return "\n".join([f"{row['name']} {row['version']}, {row['state']}", *lines])


def halted_text(halt: Mapping[str, Any]) -> str:
    """Return which campaign a release halted, or was aborted for its harm, when and why."""
    at = f" on {exactly(halt['halted_at'])}" if halt["halted_at"] else ""
    ended = f", aborted{at}" if halt.get("aborted") else at
    return f"{halt['campaign_name']} ({tail(halt['campaign_id'])}){ended}: {reason_words(halt['reason'])}"


def _goes_back(row: Mapping[str, Any]) -> list[str] | None:
    mark = row["document"].get("downgrade")
    if not mark:
        return None
    return [*marked(mark), mark["reason"], "approved" if row["downgrades"] else "not approved yet"]


def _untouched(variant: str, ecus: list[str]) -> str:
    label = f"untouched  {variant}: "
    return textwrap.fill(", ".join(ecus), 100, initial_indent=label, subsequent_indent=" " * len(label))


def _group(group_: Mapping[str, Any]) -> str:
    after = f" after {', '.join(group_['after'])}" if group_.get("after") else ""
    return f"{group_['name']} ({' '.join(group_['ecus'])}){after}"


def _package_cells(package: Mapping[str, Any] | None, package_id: str) -> tuple[str, str, str]:
    if package is None:
        return "?", tail(package_id), "?"
    return package["version"], tail(package_id), package["filename"]


def _show_targets(client: Client, row: Mapping[str, Any], payload: str) -> None:
    """Name what the signature will stand for, and mark what is not of this release."""
    signed = json.loads(payload)["signed"]
    own = {each["filename"]: each for each in _packages_of(client, row["programme_id"])}
    ids = {package for ecus in row["document"]["variants"].values() for package in ecus.values()}
    rows = []
    for name, target in sorted(signed["targets"].items()):
        package = own.get(name)
        ours = package is not None and package["id"] in ids
        rows.append((name, target["length"], target["hashes"]["sha256"][:16], "this release" if ours else ""))
    click.echo(f"Image Targets version {signed['version']}, valid until {signed['expires']}", err=True)
    click.echo(table(("file", "bytes", "sha256", ""), rows), err=True)
    for line in decided(signed.get("downgrades", ())):
        click.echo(line, err=True)


def _hand_in(shell: Shell, client: Client, row: Mapping[str, Any], signed: str) -> None:
    body = {"signed": signed, "generation": row["generation"]}
    made = client.post(f"/releases/{row['id']}/signature", body)
    shell.show(made, text=f"{made['name']} {made['version']} is {made['state']}")


def _signed(shell: Shell, payload: str, *, offline: Path | None, passphrase_file: Path | None) -> str:
    """Return a payload with the signatures of the offline Targets keys."""
    from ringroad.cli.keys import KeyFolders, load_offline_signers  # noqa: PLC0415 - only signing needs keys
    from ringroad.trust import sign  # noqa: PLC0415 - same

    settings = shell.settings()
    folder = offline or settings.keys_offline
    public = settings.var / "keys"
    # The offline folder has a copy of the roots, so that keys can be used on a machine without a server.
    folders = KeyFolders(public=public if (public / "image").is_dir() else folder, offline=folder)
    passphrase = _first_line(passphrase_file)
    signers = load_offline_signers(folders, repository="image", role="targets", passphrase=passphrase)
    return sign.add_signatures(payload.encode(), signers).decode()


def _first_line(path: Path | None) -> bytes:
    return b"" if path is None else read_text(path, bytes_max=4096).split("\n", 1)[0].rstrip("\r").encode()


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Conflict(f"{path} exists", hint="it was not changed; name another file") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
