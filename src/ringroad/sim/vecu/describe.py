"""Virtual ECUs as a PDX: the description file that diagnostic tools read, written with odxtools.

Each ECU is a base variant with the services of docs/reference/vecu.md that take values, its data identifiers,
and the fault codes it supports. odxtools is imported when this module is: `pip install 'ringroad[odx]'`.

Source: ISO 22901-1 (ODX), as odxtools writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from odxtools import write_pdx_file
from odxtools.compumethods.compucategory import CompuCategory
from odxtools.compumethods.compumethod import CompuMethod
from odxtools.compumethods.identicalcompumethod import IdenticalCompuMethod
from odxtools.database import Database
from odxtools.dataobjectproperty import DataObjectProperty
from odxtools.diagcodedtype import DiagCodedType
from odxtools.diagdatadictionaryspec import DiagDataDictionarySpec
from odxtools.diaglayercontainer import DiagLayerContainer
from odxtools.diaglayers.basevariant import BaseVariant
from odxtools.diaglayers.basevariantraw import BaseVariantRaw
from odxtools.diaglayers.diaglayertype import DiagLayerType
from odxtools.diagnostictroublecode import DiagnosticTroubleCode
from odxtools.diagservice import DiagService
from odxtools.dtcdop import DtcDop
from odxtools.endofpdufield import EndOfPduField
from odxtools.minmaxlengthtype import MinMaxLengthType
from odxtools.nameditemlist import NamedItemList
from odxtools.odxlink import DocType, OdxDocFragment, OdxLinkId, OdxLinkRef
from odxtools.odxtypes import DataType
from odxtools.parameters.codedconstparameter import CodedConstParameter
from odxtools.parameters.parameter import Parameter
from odxtools.parameters.valueparameter import ValueParameter
from odxtools.physicaltype import PhysicalType
from odxtools.request import Request
from odxtools.response import Response, ResponseType
from odxtools.standardlengthtype import StandardLengthType
from odxtools.structure import Structure
from odxtools.termination import Termination
from odxtools.text import Text
from packaging.version import Version

from ringroad.sim.vecu.config import EcuConfig
from ringroad.vehicle.agents.wire import Did, Rid
from ringroad.vehicle.uds import dtc_bytes

CONTAINER: Final = "ringroad_vecu"
ODX_VERSION: Final = "2.2.0"
_TEXT, _BYTES, _BYTE, _LONG = "text", "bytes", "byte", "number"

# What each data identifier is called, and the type of its content.
DATA: Final[Mapping[Did, tuple[str, str]]] = {
    Did.BOOT_SOFTWARE: ("Boot software identification", _TEXT),
    Did.ACTIVE_SESSION: ("Active diagnostic session", _BYTE),
    Did.SOFTWARE_NUMBER: ("ECU software number", _TEXT),
    Did.SOFTWARE_VERSION_OEM: ("ECU software version, vehicle maker", _TEXT),
    Did.SERIAL: ("ECU serial number", _TEXT),
    Did.VIN: ("Vehicle identification number", _TEXT),
    Did.HARDWARE: ("ECU hardware number", _TEXT),
    Did.SOFTWARE_VERSION: ("ECU software version", _TEXT),
    Did.FINGERPRINT_READ: ("Fingerprint of the last programming", _BYTES),
    Did.IMAGE_SHA256: ("SHA-256 of the image that runs", _BYTES),
    Did.SLOT_STATE: ("State of the software banks", _BYTES),
    Did.COMMITTED_COUNTER: ("Committed release counter", _LONG),
}
WRITTEN: Final[Mapping[Did, str]] = {
    Did.FINGERPRINT_WRITE: "Fingerprint of this programming",
    Did.IDENTITY: "Identity of the next download",
}
ROUTINES: Final[Mapping[Rid, str]] = {
    Rid.CHECK_MEMORY: "Check the programmed memory",
    Rid.CHECK_PRECONDITIONS: "Check the preconditions of programming",
    Rid.ACTIVATE: "Activate the inactive bank on trial",
    Rid.COMMIT: "Commit what runs",
    Rid.ROLLBACK: "Roll back what is on trial",
    Rid.STATUS: "State of the software banks",
    Rid.SELF_TEST: "Self-test",
    Rid.ERASE: "Erase memory",
    Rid.CHECK_DEPENDENCIES: "Check programming dependencies",
}


def write_pdx(path: Path, ecus: Mapping[str, tuple[EcuConfig, Mapping[str, str]]]) -> None:
    """Write one PDX for some ECUs.

    Args:
        path: of the file, which is replaced.
        ecus: by name: what the ECU is, and the texts of its fault codes. A code without a text is its own.
    """
    database = Database()
    database.short_name = CONTAINER
    database.model_version = Version(ODX_VERSION)
    fragment = OdxDocFragment(CONTAINER, DocType.CONTAINER)
    container = DiagLayerContainer(
        odx_id=OdxLinkId(CONTAINER, (fragment,)),
        short_name=CONTAINER,
        long_name="Virtual ECUs of Ringroad",
        base_variants=NamedItemList(
            [_Layer(name, fragment, config, texts).variant() for name, (config, texts) in ecus.items()]
        ),
    )
    database.diag_layer_containers.append(container)
    database.refresh()
    write_pdx_file(str(path), database)


def short_name(name: str) -> str:
    """Return an ODX short name: letters, digits and underscores, a letter first."""
    safe = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return safe if safe[:1].isalpha() else f"E_{safe}"


class _Layer:
    """One ECU's layer while it is put together."""

    def __init__(
        self,
        name: str,
        container: OdxDocFragment,
        config: EcuConfig,
        texts: Mapping[str, str],
    ) -> None:
        self._name = short_name(name)
        self._label = name
        self._fragments = (container, OdxDocFragment(self._name, DocType.LAYER))
        self._services: list[DiagService] = []
        self._requests: list[Request] = []
        self._responses: list[Response] = []
        self._stored = tuple(config.data)
        codes = dict.fromkeys((*config.supported_faults, *texts))
        self._faults = self._dtc_dop({code: texts.get(code, code) for code in codes})
        self._props = {kind: self._prop(kind) for kind in (_TEXT, _BYTES, _BYTE, _LONG)}

    def variant(self) -> BaseVariant:
        """Return the layer with all its services."""
        for did, (label, kind) in DATA.items():
            value = self._value("value", self._props[kind].odx_id, label)
            self._add(f"Read {label}", bytes((0x22,)) + did.to_bytes(2, "big"), 3, answer=[value])
        for did, label in WRITTEN.items():
            value = self._value("value", self._props[_BYTES].odx_id, label)
            self._add(f"Write {label}", bytes((0x2E,)) + did.to_bytes(2, "big"), 3, asked=[value])
        for did_text in self._stored:  # what testers may write
            value = self._value("value", self._props[_BYTES].odx_id, f"Data {did_text}")
            did_bytes = bytes.fromhex(did_text)
            self._add(f"Read Data {did_text}", b"\x22" + did_bytes, 3, answer=[value])
            self._add(f"Write Data {did_text}", b"\x2e" + did_bytes, 3, asked=[value])
        for rid, label in ROUTINES.items():
            record = self._value("record", self._props[_BYTES].odx_id, "Record")
            self._add(
                f"Start {label}", b"\x31\x01" + rid.to_bytes(2, "big"), 4, asked=[record], answer=[record]
            )
        listed, item = self._listed_faults()
        mask = self._value("status_mask", self._props[_BYTE].odx_id, "Status mask")
        found = self._value("faults", listed.odx_id, "Faults")
        self._add("Read faults by status", b"\x19\x02", 2, asked=[mask], answer=[mask, found])
        self._add("Clear all faults", b"\x14\xff\xff\xff", 1)
        for session, label in ((1, "default"), (2, "programming"), (3, "extended")):
            timing = self._value("timing", self._props[_BYTES].odx_id, "Timing")
            self._add(f"Enter {label} session", bytes((0x10, session)), 2, answer=[timing])
        self._add("Reset", b"\x11\x01", 2)
        return BaseVariant(
            diag_layer_raw=BaseVariantRaw(
                variant_type=DiagLayerType.BASE_VARIANT,
                odx_id=self._id("layer"),
                short_name=self._name,
                long_name=self._label,
                diag_data_dictionary_spec=DiagDataDictionarySpec(
                    dtc_dops=NamedItemList([self._faults]),
                    data_object_props=NamedItemList(self._props.values()),
                    structures=NamedItemList([item]),
                    end_of_pdu_fields=NamedItemList([listed]),
                ),
                diag_comms_raw=list(self._services),
                requests=NamedItemList(self._requests),
                positive_responses=NamedItemList(self._responses),
                global_negative_responses=NamedItemList([self._refusal()]),
            )
        )

    def _add(
        self,
        label: str,
        request: bytes,
        echo: int,
        *,
        asked: Sequence[Parameter] = (),
        answer: Sequence[Parameter] = (),
    ) -> None:
        """Add a service: the constant bytes of its request, and how many of them its response repeats."""
        name = short_name(label.replace(" ", "_").replace(",", ""))
        response = bytes((request[0] | 0x40,)) + request[1:echo]
        question = Request(
            odx_id=self._id(f"RQ.{name}"),
            short_name=f"RQ_{name}",
            parameters=NamedItemList([*_constants(request), *asked]),
        )
        reply = Response(
            odx_id=self._id(f"PR.{name}"),
            short_name=f"PR_{name}",
            response_type=ResponseType.POSITIVE,
            parameters=NamedItemList([*_constants(response), *answer]),
        )
        self._requests.append(question)
        self._responses.append(reply)
        self._services.append(
            DiagService(
                odx_id=self._id(f"DC.{name}"),
                short_name=name,
                long_name=label,
                request_ref=OdxLinkRef.from_id(question.odx_id),
                pos_response_refs=[OdxLinkRef.from_id(reply.odx_id)],
            )
        )

    def _dtc_dop(self, texts: Mapping[str, str]) -> DtcDop:
        return DtcDop(
            odx_id=self._id("DTC"),
            short_name="faults",
            diag_coded_type=_number(24),
            physical_type=PhysicalType(base_data_type=DataType.A_UINT32),
            compu_method=_same(DataType.A_UINT32),
            dtcs_raw=[
                DiagnosticTroubleCode(
                    odx_id=self._id(f"DTC.{code}"),
                    short_name=short_name(code),
                    trouble_code=int.from_bytes(dtc_bytes(code), "big"),
                    display_trouble_code=code,
                    text=Text.from_string(text),
                )
                for code, text in texts.items()
            ],
        )

    def _listed_faults(self) -> tuple[EndOfPduField, Structure]:
        item = Structure(
            odx_id=self._id("ST.fault"),
            short_name="fault",
            parameters=NamedItemList[Parameter](
                [
                    self._value("code", self._faults.odx_id, "Fault code"),
                    self._value("status", self._props[_BYTE].odx_id, "Status"),
                ]
            ),
        )
        listed = EndOfPduField(
            odx_id=self._id("EF.faults"),
            short_name="fault_list",
            structure_ref=OdxLinkRef.from_id(item.odx_id),
            min_number_of_items=0,
        )
        return listed, item

    def _prop(self, kind: str) -> DataObjectProperty:
        base = {_TEXT: DataType.A_ASCIISTRING, _BYTES: DataType.A_BYTEFIELD}.get(kind, DataType.A_UINT32)
        coded: DiagCodedType
        if kind in {_TEXT, _BYTES}:
            coded = MinMaxLengthType(base_data_type=base, min_length=0, termination=Termination.END_OF_PDU)
        else:
            coded = _number(8 if kind == _BYTE else 32)
        return DataObjectProperty(
            odx_id=self._id(f"DOP.{kind}"),
            short_name=kind,
            compu_method=_same(base),
            diag_coded_type=coded,
            physical_type=PhysicalType(base_data_type=DataType.A_UNICODE2STRING if kind == _TEXT else base),
        )

    def _refusal(self) -> Response:
        byte = self._props[_BYTE].odx_id
        return Response(
            odx_id=self._id("GNR"),
            short_name="refused",
            response_type=ResponseType.GLOBAL_NEGATIVE,
            parameters=NamedItemList[Parameter](
                [
                    _constant(0, 0x7F),
                    self._value("service", byte, "Service"),
                    self._value("reason", byte, "Negative response code"),
                ]
            ),
        )

    def _value(self, name: str, dop: OdxLinkId, label: str) -> ValueParameter:
        return ValueParameter(
            short_name=name, long_name=label, dop_ref=OdxLinkRef.from_id(dop), semantic="DATA"
        )

    def _id(self, local: str) -> OdxLinkId:
        return OdxLinkId(f"{self._name}.{local}", self._fragments)


def _number(bits: int) -> StandardLengthType:
    return StandardLengthType(base_data_type=DataType.A_UINT32, bit_length=bits)


def _same(kind: DataType) -> CompuMethod:
    physical = DataType.A_UNICODE2STRING if kind is DataType.A_ASCIISTRING else kind
    return IdenticalCompuMethod(category=CompuCategory.IDENTICAL, internal_type=kind, physical_type=physical)


def _constants(data: bytes) -> list[Parameter]:
    """Return the service, and what follows it as one number: a sub-function, an identifier."""
    found = [_constant(0, data[0])]
    if len(data) > 1:
        rest = data[1:]
        if data[0] == 0x31:
            found.append(_constant(1, rest[0], "control"))
            rest = rest[1:]
        found.append(
            _constant(len(data) - len(rest), int.from_bytes(rest, "big"), "identifier", 8 * len(rest))
        )
    return list(found)


def _constant(at: int, value: int, name: str = "service_id", bits: int = 8) -> CodedConstParameter:
    semantic = {"service_id": "SERVICE-ID", "identifier": "ID", "control": "SUBFUNCTION"}[name]
    return CodedConstParameter(
        short_name=name,
        semantic=semantic,
        byte_position=at,
        coded_value_raw=str(value),
        diag_coded_type=_number(bits),
    )
