"""`ringroad plant import`, `list`, `show`, `choose`, `diff`, `export`, `export-aas` and `import-aas`: plant documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ringroad.build.plant.aas import AAS_BYTES_MAX, Form, export_aas, import_aas
from ringroad.build.plant.diff import diff_plants
from ringroad.build.plant.model import Plant, Structure
from ringroad.build.plant.read import PLANT_BYTES_MAX, Find, plant_from_document, read_plant, structure_from
from ringroad.build.plant.write import plant_file
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, example, read_bytes, read_text, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table, when
from ringroad.kernel.errors import InvalidInput, NotFound, Unavailable
from ringroad.kernel.plurals import counted

HASH_CHARS = 12  # of a hash that are shown; the whole one is in --json


_LOWER_GATES = click.option(
    "--lower-gates",
    is_flag=True,
    help="Gates may look at less, though vehicles came back that they let pass.",
)


@click.command("import", epilog=example("ringroad plant import examples/plants/mother.toml"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace what is stored under this id by other content.")
@_LOWER_GATES
@with_client
def import_file(shell: Shell, client: Client, *, file: Path, replace: bool, lower_gates: bool) -> None:
    """Import a plant document from FILE; every problem is named with its line."""
    source = read_text(file, bytes_max=PLANT_BYTES_MAX)
    plant = read_plant(
        source, filename=str(file), find=_finder(client)
    )  # here, so that problems name this file
    save(shell, client, plant, {"source": source} | _said(lower_gates=lower_gates), replace=replace)


def _said(*, lower_gates: bool) -> dict[str, object]:
    """Return the word for the request; none where it was not said, so that a server of before takes it."""
    return {"lower_gates": True} if lower_gates else {}


def save(shell: Shell, client: Client, plant: Plant, body: dict[str, object], *, replace: bool) -> None:
    """Send a document to the server, and say what became of it."""
    if replace:
        try:
            body["generation"] = client.get(f"/plants/{plant.id}")["generation"] or None
        except NotFound:
            shell.say(f"{plant.id} is new")
    row = client.post("/plants", body)
    text = f"plant {row['id']}, generation {row['generation']}: {_size(row)}"
    if kept := row.get("kept"):
        text += f"\nkeeps {counted(len(kept), 'learned parameter')} that it does not name: {', '.join(kept)}"
    less = [f"looks at less: {each}" for each in row.get("looks_at_less", [])]
    shell.show(row, text="\n".join([text, *less, *row.get("doubts", [])]))


@click.command("list", epilog=example("ringroad plant list"))
@with_client
def list_plants(shell: Shell, client: Client) -> None:
    """List plants; a programme's own line is one of generation 0."""
    rows = client.get("/plants")
    text = table(
        ("id", "name", "site", "builds", "generation", "structure", "parameters", "made"),
        (
            (
                row["id"], row["name"], row["site"], row["runs"], row["generation"],
                row["structure_sha256"][:HASH_CHARS], row["parameters_sha256"][:HASH_CHARS], when(row["made_at"]),
            )
            for row in rows
        ),
        empty="no plant yet; ringroad plant import FILE",
    )  # fmt: skip
    shell.show(rows, text=text)


@click.command("show", epilog=example("ringroad plant show wren", "ringroad plant show wren@1 --json"))
@click.argument("plant")
@with_client
def show(shell: Shell, client: Client, *, plant: str) -> None:
    """Show a plant: what it is made of, and what it believes, from how much, and whose.

    PLANT@GENERATION is an older one; a programme's id is the line in its file.
    """
    row = _get(client, plant)
    document = row["document"]
    head = details(
        (
            ("plant", row["id"]),
            ("name", row["name"]),
            ("enterprise", row["enterprise"]),
            ("site", row["site"]),
            ("cloned from", row["parent"]),
            ("lines", [f"{line['area']}/{line['name']}" for line in document.get("lines", [])]),
            ("shops", [f"{shop['area']}/{shop['name']}" for shop in document.get("shops", [])]),
            ("calendars", [each["name"] for each in document.get("calendars", [])]),
            ("AGVs", [f"{each['name']} ({each['count']})" for each in document.get("agvs", [])]),
            ("warehouse", document.get("warehouse", {}).get("name")),
            ("supplier legs", [each["name"] for each in document.get("legs", [])]),
            ("builds", row["runs"]),
            ("generation", row["generation"] or "0, read out of the programme's file"),
            ("made", f"{exactly(row['made_at'])} by {row['made_by']}"),
            ("structure", row["structure_sha256"]),
            ("parameters", row["parameters_sha256"]),
        )
    )
    shell.show(row, text=f"{head}\n\n{beliefs_text(row['beliefs'])}")


@click.command("choose", epilog=example("ringroad plant choose wren-mother"))
@click.argument("plant")
@click.option("--programme", help="The vehicle programme; default: the only one.")
@_LOWER_GATES
@with_client
def choose(shell: Shell, client: Client, *, plant: str, programme: str | None, lower_gates: bool) -> None:
    """Let PLANT's line take the place of the one in the programme's file.

    From then on the line is planned, and its twin runs, with what the document believes.
    """
    programme = programme_of(client, programme)
    row = client.post(f"/plants/{plant}/choose", {"programme_id": programme} | _said(lower_gates=lower_gates))
    shell.show(
        row, text=f"{plant} builds {programme} here; a line that has a schedule is planned again with it"
    )


@click.command(
    "diff", epilog=example("ringroad plant diff wren-mother wren-north", "ringroad plant diff wren@1 wren@2")
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@with_client
def diff(shell: Shell, client: Client, *, before: str, after: str) -> int:
    """Show how plant B differs from plant A: clone drift.

    Each is a plant, PLANT@GENERATION, or a file that ends in .toml.
    Parameters differ where their beliefs contradict each other, by three standard errors; others were only learned
    from different evidence.
    Exit status 1 when the structure is not the same or a parameter differs.
    """
    from ringroad.http.views_plant import diff_view  # noqa: PLC0415 - the others load no server

    one, other = (_load(client, each) for each in (before, after))
    view = msgspec.to_builtins(diff_view(one, other, diff_plants(one, other)))
    shell.show(view, text=diff_text(view))
    clear = [each for each in view["parameters"] if each["how"] != "learned"]
    return EXIT_NO if view["structure"] or clear else 0


@click.command("export", epilog=example("ringroad plant export wren-north --out wren-north.toml"))
@click.argument("plant")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file.")
@click.option(
    "--whole", is_flag=True, help="A clone's structure too, for a server that does not know its parent."
)
@with_client
def export_file(shell: Shell, client: Client, *, plant: str, out: Path, whole: bool) -> None:
    """Write PLANT as a file that `ringroad plant import` reads.

    A clone with its parent's structure refers to it by its hash; whoever imports it has the parent's document.
    """
    found = _load(client, plant)
    by_reference = not whole and _as_its_parent(client, found)
    _write(out, plant_file(found, by_reference=by_reference).encode())
    said = f"its structure as of {found.identity.parent}" if by_reference else "whole"
    shell.show(
        {"file": out, "by_reference": by_reference},
        text=f"{out}: {counted(len(found.parameters), 'parameter')}, {said}",
    )


def _as_its_parent(client: Client, plant: Plant) -> bool:
    """Return whether a plant is a clone whose parent is here and has its structure."""
    if not plant.identity.parent:
        return False
    try:
        parent = client.get(f"/plants/{plant.identity.parent}")
    except NotFound:
        return False
    return bool(parent["structure_sha256"] == plant.structure_sha256)


@click.command("export-aas", epilog=example("ringroad plant export-aas wren-mother --out wren.aasx"))
@click.argument("plant")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False),
    help="A file that ends in .aasx, or .json.",
)  # fmt: skip
@with_client
def export(shell: Shell, client: Client, *, plant: str, out: Path) -> None:
    """Write PLANT as an Asset Administration Shell, without loss.

    Its submodels are Structure, ProcessParameters, Schedule and Quality. Needs basyx-python-sdk where the command
    runs: pip install 'ringroad[aas]'.
    """
    forms: dict[str, Form] = {".aasx": "aasx", ".json": "json"}
    if out.suffix not in forms:
        raise InvalidInput(f"{out} ends in neither .aasx nor .json")
    content = export_aas(_load(client, plant), form=forms[out.suffix])
    _write(out, content)
    shell.show({"file": out, "bytes": len(content)}, text=f"{out}: {len(content)} bytes")


@click.command("import-aas", epilog=example("ringroad plant import-aas wren.aasx"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace what is stored under its id by other content.")
@_LOWER_GATES
@with_client
def import_shell(shell: Shell, client: Client, *, file: Path, replace: bool, lower_gates: bool) -> None:
    """Import a plant out of an Asset Administration Shell, AASX or JSON."""
    plant = import_aas(read_bytes(file, bytes_max=AAS_BYTES_MAX))
    save(
        shell,
        client,
        plant,
        {"document": plant.to_document()} | _said(lower_gates=lower_gates),
        replace=replace,
    )


def beliefs_text(beliefs: Sequence[Mapping[str, Any]]) -> str:
    """Return beliefs as a table."""
    return table(
        ("of", "parameter", "mean", "90 % between", "n", "from"),
        (
            (
                each["key"].partition("#")[0], each["kind"] + (f" {each['per']}" if each["per"] else ""),
                amount(each, each["mean"]), between(each),
                f"{each['n']:g}", source_text(each),
            )
            for each in beliefs
        ),
        empty="it believes nothing",
    )  # fmt: skip


def amount(belief: Mapping[str, Any], value: float) -> str:
    """Return a value of a belief in a unit that people read."""
    from ringroad.http.views_plant import amount as amount_of  # noqa: PLC0415 - same

    return amount_of(belief["family"], value)


def source_text(belief: Mapping[str, Any]) -> str:
    """Return where a belief comes from."""
    learned = f", {when(belief['learned_at'])}" if belief["learned_at"] else ""
    return f"{belief['plant'] or 'a person'}: {belief['evidence'] or 'no evidence named'}{learned}"


def diff_text(view: Mapping[str, Any]) -> str:
    """Return a difference in full."""
    if not (view["structure"] or view["parameters"] or view["bindings"]):
        return f"{view['before']} and {view['after']} are the same"
    parts = [f"structure: {'the same' if view['same_structure'] else 'differs'}"]
    parts += [_change_text(each) for each in (*view["structure"], *view["bindings"])]
    rows = table(
        ("parameter", "", view["before"], view["after"], "standard errors"),
        (
            (
                each["key"], each["how"], _belief(each["before"]), _belief(each["after"]),
                f"{each['sigma']:+.1f}" if each["before"] and each["after"] else "-",
            )
            for each in view["parameters"]
        ),
        empty="parameters: the same",
    )  # fmt: skip
    return "\n".join([*parts, "", rows])


def _belief(each: Mapping[str, Any] | None) -> str:
    return f"{amount(each, each['mean'])} (n {each['n']:g})" if each else "-"


def between(each: Mapping[str, Any]) -> str:
    """Return between what a belief has its expected value."""
    return f"{amount(each, each['low'])} and {amount(each, each['high'])}"


def _change_text(each: Mapping[str, Any]) -> str:
    if each["before"] is None:
        return f"  + {each['path']}: {_short(each['after'])}"
    if each["after"] is None:
        return f"  - {each['path']}: {_short(each['before'])}"
    return f"  ~ {each['path']}: {_short(each['before'])} > {_short(each['after'])}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _size(row: Mapping[str, Any]) -> str:
    return f"{counted(row['stations'], 'station')}, {counted(row['parameters'], 'parameter')}"


def _get(client: Client, named: str) -> dict[str, Any]:
    plant, _, generation = named.partition("@")
    if generation and not generation.isdecimal():
        raise InvalidInput(f"{named!r} is not PLANT@GENERATION", hint=f"for example {plant}@1")
    row: dict[str, Any] = client.get(
        f"/plants/{plant}", **({"generation": int(generation)} if generation else {})
    )
    return row


def _load(client: Client, named: str) -> Plant:
    if named.endswith(".toml"):
        source = read_text(Path(named), bytes_max=PLANT_BYTES_MAX)
        return read_plant(source, filename=named, find=_finder(client))
    return plant_from_document(_get(client, named)["document"], what=f"plant {named}")


def _finder(client: Client) -> Find:
    """Return how the structure that a clone's file refers to is found: at the server."""

    def find(sha256: str) -> Structure | None:
        try:
            return structure_from(client.get(f"/plant-structures/{sha256}"))
        except NotFound:
            return None

    return find


def _write(out: Path, content: bytes) -> None:
    """Write a file that a person named. Raises: Unavailable."""
    try:
        out.write_bytes(content)
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}", code="disk") from error


commands = (import_file, list_plants, show, choose, diff, export_file, export, import_shell)
