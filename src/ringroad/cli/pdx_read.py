"""Names of data identifiers and fault codes out of a PDX, the description that a supplier delivers with an ECU.

odxtools reads the file; here its services and fault codes become `EcuNames`. It is imported when a file is read:
`pip install 'ringroad[odx]'`.

Invariant: a name is one that the file gives; an identifier whose number the file does not say is left out.
"""

from __future__ import annotations

import importlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable
from ringroad.protocol.names import CHARS_MAX, ENTRIES_MAX, EcuNames
from ringroad.vehicle.uds import dtc_display

UNPACKED_BYTES_MAX: Final = 512 * 1024**2  # bytes of all members; the largest PDX seen has 200 MB of XML
MEMBERS_MAX: Final = 10_000
_SERVICES: Final = frozenset({0x22, 0x2E})  # that read or write data by identifier
_VERBS: Final = ("read", "write", "get", "lesen", "schreiben")  # what suppliers put before or behind a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One ECU of a PDX.

    Attributes:
        variant: short name of its variant in the file.
        label: long name, or the short one.
        names: of its data and faults.
    """

    variant: str
    label: str
    names: EcuNames


def read_pdx(path: Path) -> list[Described]:
    """Return the ECUs of a PDX, those with names only.

    Raises:
        Unavailable: odxtools is not installed.
        InvalidInput: the file cannot be read, is no PDX, or is larger than any.
    """
    try:
        odx: Any = importlib.import_module("odxtools.database")
        exceptions: Any = importlib.import_module("odxtools.exceptions")
    except ImportError as error:
        raise Unavailable("reading a PDX needs odxtools", hint="pip install 'ringroad[odx]'") from error
    content = _looked_at(path)
    strict = exceptions.strict_mode
    exceptions.strict_mode = (
        False  # suppliers' files bend the standard; what is bent is left out, not refused
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            database = odx.Database()
            database.add_pdx_file(io.BytesIO(content))  # its own loader leaves the file open
            database.refresh()
            layers = [*database.ecu_variants, *database.base_variants]
            found = [_described(layer) for layer in layers]
    except RingroadError:
        raise
    except Exception as error:  # odxtools raises whatever its parser met
        raise InvalidInput(
            f"{path.name} is no PDX that can be read: {str(error)[:300] or type(error).__name__}",
            hint="a zip of .odx-d files with an index.xml, ODX 2.0 or newer",
        ) from error
    finally:
        exceptions.strict_mode = strict
    return [one for one in found if one.names.data or one.names.faults]


def _looked_at(path: Path) -> bytes:
    """Return the file; refuse what is no archive or would fill the memory before anything is unpacked."""
    try:
        if path.stat().st_size > UNPACKED_BYTES_MAX:
            raise InvalidInput(f"{path.name} is larger than {UNPACKED_BYTES_MAX} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise InvalidInput(f"{path.name} is no PDX: it is not a zip archive") from error
    unpacked_bytes = sum(member.file_size for member in members)
    if len(members) > MEMBERS_MAX or unpacked_bytes > UNPACKED_BYTES_MAX:
        raise InvalidInput(
            f"{path.name} holds {len(members)} files of {unpacked_bytes} bytes; "
            f"at most {MEMBERS_MAX} of {UNPACKED_BYTES_MAX} are read"
        )
    return content


def _described(layer: Any) -> Described:
    data: dict[str, str] = {}
    for service in layer.services:
        for did, name in _data_of(service):
            if 0 <= did <= 0xFFFF:
                data.setdefault(f"{did:04X}", name)
    faults: dict[str, str] = {}
    dictionary = layer.diag_data_dictionary_spec
    for dop in dictionary.dtc_dops if dictionary is not None else ():
        for dtc in dop.dtcs:
            code = _code_of(dtc.trouble_code, getattr(dop.diag_coded_type, "bit_length", 24))
            text = dtc.text.text if dtc.text is not None else ""
            name = _tidy(text or dtc.long_name or dtc.short_name)
            if code and name and name != code:
                faults.setdefault(code, name)
    for what, names in (("data identifiers", data), ("fault codes", faults)):
        if len(names) > ENTRIES_MAX:
            raise InvalidInput(f"{layer.short_name} has {len(names)} {what}, at most {ENTRIES_MAX} are taken")
    return Described(
        variant=layer.short_name,
        label=_tidy(layer.long_name or "") or layer.short_name,
        names=EcuNames(data=dict(sorted(data.items())), faults=dict(sorted(faults.items()))),
    )


def _data_of(service: Any) -> Iterator[tuple[int, str]]:
    """Yield what a service that reads or writes data calls each of its identifiers."""
    request = getattr(service, "request", None)
    if request is None:
        return
    constants = [one for one in request.parameters if one.parameter_type == "CODED-CONST"]
    if not constants or _number(constants[0]) not in _SERVICES:
        return
    label = _name_of(service)
    if len(constants) > 1 and (did := _number(constants[1])) is not None:
        yield did, label
        return
    for parameter in request.parameters:  # one service for a whole table of identifiers
        table = getattr(parameter, "table", None) if parameter.parameter_type == "TABLE-KEY" else None
        for row in table.table_rows if table is not None else ():
            name = _tidy(row.long_name or row.short_name)
            if isinstance(row.key, int) and name:
                yield row.key, name


def _name_of(service: Any) -> str:
    """Return what the data is called: the response's only value, or the service without its verb."""
    for response in service.positive_responses:
        values = [one for one in response.parameters if one.parameter_type == "VALUE" and one.long_name]
        if len(values) == 1:
            return _tidy(values[0].long_name)
    words = _tidy(service.long_name or service.short_name.replace("_", " ")).split()
    if len(words) > 1 and words[0].lower() in _VERBS:
        words = words[1:]
    elif len(words) > 1 and words[-1].lower() in _VERBS:
        words = words[:-1]
    return " ".join(words)


def _number(parameter: Any) -> int | None:
    value = parameter.coded_value
    if isinstance(value, int):
        return value
    return int.from_bytes(value, "big") if isinstance(value, bytes | bytearray) and value else None


def _code_of(trouble_code: Any, bits: int) -> str:
    if not isinstance(trouble_code, int):
        return ""
    if bits == 16:  # without a failure type
        trouble_code <<= 8
    return dtc_display(trouble_code.to_bytes(3, "big")) if 0 <= trouble_code < 1 << 24 else ""


def _tidy(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())[:CHARS_MAX].strip()
