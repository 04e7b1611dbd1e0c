"""A plant document as an Asset Administration Shell, and back, without loss.

One shell per plant, with the submodels Structure, ProcessParameters, Schedule and Quality, in JSON or as an AASX
package. `tables` turns a document into rows with fixed column names, since the names of plants, stations and options
are no idShorts; `document` turns them back, and `read.py` reads the result as any other document. basyx-python-sdk
is imported when a file is read or written: ``pip install 'ringroad[aas]'``.

Pure but for that import. Invariant: what is read back is the plant that was written, or an error.
Source: IDTA 01001-3-0 (metamodel), IDTA 01005-3-0 (AASX).
"""

from __future__ import annotations

import importlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import KINDS, path_text
from ringroad.build.plant.read import plant_from_document
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable

Form = Literal["json", "aasx"]
Tables = dict[str, dict[str, Any]]  # submodel to its content

SUBMODELS: Final = ("Structure", "ProcessParameters", "Schedule", "Quality")
QUALITY: Final = (
    "first_pass",
    "finds",
    "false_alarm",
    "inspects",
    "inspects_all",
    "escapes",
    "inspect_s",
)  # parameters of the submodel Quality
AAS_BYTES_MAX: Final = 32 * 1024**2  # bytes of a file; eight times the largest document
MEMBERS_MAX: Final = 100  # of a package; ours has seven
PREFIX: Final = "urn:ringroad:plant:"
MEDIA: Final[dict[Form, str]] = {
    "json": "application/json",
    "aasx": "application/asset-administration-shell-package+xml",
}
# An idShort has two characters at least.
_LONG: Final = {"p": "ratio_p", "q": "ratio_q", "n": "observations"}
_SHORT: Final = {long: short for short, long in _LONG.items()}


def export_aas(plant: Plant, *, form: Form) -> bytes:
    """Return a plant as a file. Raises: Unavailable, if basyx-python-sdk is not installed."""
    aas = _basyx("basyx.aas.model")
    store = aas.DictIdentifiableStore()
    identity = PREFIX + plant.id
    submodels = []
    for name, content in tables(plant).items():
        made = aas.Submodel(
            id_=f"{identity}:{name}",
            id_short=name,
            semantic_id=_reference(aas, f"{PREFIX}submodel:{name}:1"),
            submodel_element=[_element(aas, key, value) for key, value in content.items()],
        )
        submodels.append(made)
        store.add(made)
    shell = aas.AssetAdministrationShell(
        id_=identity,
        id_short="Plant",
        asset_information=aas.AssetInformation(global_asset_id=f"{identity}:asset"),
        submodel={aas.ModelReference.from_referable(each) for each in submodels},
    )
    store.add(shell)
    if form == "json":
        text = io.StringIO()
        _basyx("basyx.aas.adapter.json").write_aas_json_file(text, store)
        return text.getvalue().encode()
    package = _basyx("basyx.aas.adapter.aasx")
    into = io.BytesIO()
    with package.AASXWriter(into) as writer:
        writer.write_aas(identity, store, package.DictSupplementaryFileContainer(), write_json=True)
    return into.getvalue()


def import_aas(content: bytes) -> Plant:
    """Return the plant of a file that `export_aas` wrote, in either form.

    Raises:
        Unavailable: basyx-python-sdk is not installed.
        InvalidInput: the file is too large, no such file, or what it says of a plant is wrong.
    """
    if len(content) > AAS_BYTES_MAX:
        raise InvalidInput(f"the file has {len(content)} bytes, limit {AAS_BYTES_MAX}")
    aas = _basyx("basyx.aas.model")
    try:
        store = _package(content) if content.startswith(b"PK") else _json(content)
        shells = [each for each in store if isinstance(each, aas.AssetAdministrationShell)]
        if len(shells) != 1:
            raise _wrong(f"it has {len(shells)} shells, one expected")
        found = {
            each.id_short: {element.id_short: _value(aas, element) for element in each.submodel_element}
            for each in store
            if isinstance(each, aas.Submodel)
        }
        missing = [name for name in SUBMODELS if name not in found]
        if missing:
            raise _wrong(f"it has no submodel {missing[0]}")
        document = from_tables(found)
    except RingroadError:
        raise
    except Exception as error:  # foreign: whatever a file that is no shell makes of the SDK
        raise _wrong(str(error)[:300] or type(error).__name__) from error
    plant = plant_from_document(document, what="the shell", new=True)
    if shells[0].id != PREFIX + plant.id:
        raise _wrong(f"its shell is {shells[0].id!r}, its plant {plant.id!r}")
    return plant


def tables(plant: Plant) -> Tables:
    """Return a plant by submodel, in rows whose columns have fixed names."""
    document = plant.to_document()
    gates = [
        {"station": path_text((line["area"], line["name"], cell["name"])), "gates": cell.pop("gates")}
        for line in document.get("lines", [])
        for cell in line["stations"]
        if "gates" in cell
    ]
    for line in document.get("lines", []):
        if "pools" in line:
            line["pools"] = [{"name": name, "count": count} for name, count in line["pools"].items()]
    rows = [
        {"path": path_text(key.path), "name": plant.full_name(key.path), "kind": key.kind}
        | ({"per": key.per} if key.per else {})
        | {"family": belief.family, "mean": belief.mean}
        | belief.to_document()
        for key, belief in sorted(plant.parameters.items())
    ]
    bindings = [
        {"path": path, "nodes": [{"name": name, "node": node} for name, node in nodes.items()]}
        for path, nodes in document.get("bindings", {}).items()
    ]
    made: Tables = {
        "Structure": {
            name: document[name]
            for name in ("schema", "plant", "lines", "shops", "agvs", "warehouse", "legs")
            if name in document
        }
        | ({"bindings": bindings} if bindings else {}),
        "ProcessParameters": {"parameters": [row for row in rows if row["kind"] not in QUALITY]},
        "Schedule": {"calendars": document.get("calendars", [])},
        "Quality": {"gates": gates, "parameters": [row for row in rows if row["kind"] in QUALITY]},
    }
    return {
        name: {key: each for key, each in content.items() if each != []} for name, content in made.items()
    }


def from_tables(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document that `tables` took apart. Raises: InvalidInput, or what a foreign shape brings about."""
    document: dict[str, Any] = dict(found["Structure"]) | dict(found["Schedule"])
    gates = {row["station"]: row["gates"] for row in found["Quality"].get("gates", [])}
    for line in document.get("lines", []):
        if "pools" in line:
            line["pools"] = {row["name"]: row["count"] for row in line["pools"]}
        for cell in line["stations"]:
            path = path_text((line["area"], line["name"], cell["name"]))
            if path in gates:
                cell["gates"] = gates.pop(path)
    if gates:
        raise _wrong(f"gates of {next(iter(gates))}, which is no station")
    parameters: dict[str, Any] = {}
    for name in ("ProcessParameters", "Quality"):
        for row in found[name].get("parameters", []):
            body = {
                key: value
                for key, value in row.items()
                if key not in {"path", "name", "kind", "per", "family", "mean"}
            }
            at = parameters.setdefault(row["path"], {})
            if row["kind"] in KINDS and KINDS[row["kind"]].per:
                at.setdefault(row["kind"], {})[row["per"]] = body
            else:
                at[row["kind"]] = body
    document["parameters"] = parameters
    if "bindings" in document:
        document["bindings"] = {
            row["path"]: {node["name"]: node["node"] for node in row["nodes"]} for row in document["bindings"]
        }
    return document


def _element(aas: Any, key: str | None, value: Any) -> Any:
    """Return a value as a submodel element; rows of a list have no name."""
    name = _LONG.get(key, key) if key else None
    match value:
        case dict():
            inside = [_element(aas, each, below) for each, below in value.items()]
            return aas.SubmodelElementCollection(name, value=inside)
        case [dict(), *_]:
            rows = [_element(aas, None, row) for row in value]
            return aas.SubmodelElementList(name, aas.SubmodelElementCollection, value=rows)
        case list():
            rows = [_element(aas, None, row) for row in value]
            return aas.SubmodelElementList(name, aas.Property, value=rows, value_type_list_element=str)
        case bool():
            return aas.Property(name, bool, value)
        case int():
            return aas.Property(name, aas.datatypes.Long, value)
        case float():
            return aas.Property(name, aas.datatypes.Double, value)
        case _:
            return aas.Property(name, str, value)


def _value(aas: Any, element: Any) -> Any:
    """Return what `_element` made an element of."""
    match element:
        case aas.SubmodelElementCollection():
            return {_SHORT.get(each.id_short, each.id_short): _value(aas, each) for each in element.value}
        case aas.SubmodelElementList():
            return [_value(aas, each) for each in element.value]
        case aas.Property():
            kind, value = element.value_type, element.value
            if value is None:
                return ""
            if issubclass(kind, str):
                return str(value)
            return (
                value if issubclass(kind, bool) else float(value) if issubclass(kind, float) else int(value)
            )
        case _:
            raise _wrong(f"{element.id_short} is a {type(element).__name__}, which no plant has")


def _json(content: bytes) -> Iterable[Any]:
    found: Iterable[Any] = _basyx("basyx.aas.adapter.json").read_aas_json_file(
        io.StringIO(content.decode()), failsafe=False
    )
    return found


def _package(content: bytes) -> Iterable[Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        listed = members.infolist()
        if len(listed) > MEMBERS_MAX or sum(each.file_size for each in listed) > AAS_BYTES_MAX:
            raise _wrong(f"it unpacks to more than {MEMBERS_MAX} files or {AAS_BYTES_MAX} bytes")
    package = _basyx("basyx.aas.adapter.aasx")
    store = _basyx("basyx.aas.model").DictIdentifiableStore()
    with package.AASXReader(io.BytesIO(content), failsafe=False) as reader:
        reader.read_into(store, package.DictSupplementaryFileContainer())
    found: Iterable[Any] = store
    return found


def _reference(aas: Any, value: str) -> Any:
    return aas.ExternalReference((aas.Key(aas.KeyTypes.GLOBAL_REFERENCE, value),))


def _wrong(reason: str) -> InvalidInput:
    return InvalidInput(
        f"this is no plant as an Asset Administration Shell: {reason}",
        code="aas_invalid",
        hint="ringroad plant export-aas writes one; docs/reference/plant-document.md describes it",
    )


def _basyx(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(
            "an Asset Administration Shell needs basyx-python-sdk", hint="pip install 'ringroad[aas]'"
        ) from error
