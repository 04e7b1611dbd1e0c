"""Names out of PDX files as suppliers write them, and out of what is none."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from ringroad.cli import pdx_read
from ringroad.cli.pdx import match_variants
from ringroad.cli.pdx_read import Described, read_pdx
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.protocol.names import CHARS_MAX, EcuNames

INDEX = '<?xml version="1.0"?><CATALOG F-DTD-VERSION="ODX-2.2.0"><SHORT-NAME>db</SHORT-NAME></CATALOG>'
UINT = 'BASE-DATA-TYPE="A_UINT32" xsi:type="STANDARD-LENGTH-TYPE"'
SAME = (
    "<COMPU-METHOD><CATEGORY>IDENTICAL</CATEGORY></COMPU-METHOD>"
    "<DIAG-CODED-TYPE {0}><BIT-LENGTH>{1}</BIT-LENGTH></DIAG-CODED-TYPE>"
    '<PHYSICAL-TYPE BASE-DATA-TYPE="A_UINT32"/>'
)


def dtcs(bits: int, *rows: tuple[int, str, str]) -> str:
    """A DTC-DOP with codes: number, long name, text."""
    listed = "".join(
        f'<DTC ID="b.dtc{bits}.{code}"><SHORT-NAME>D{code}</SHORT-NAME><LONG-NAME>{long}</LONG-NAME>'
        f"<TROUBLE-CODE>{code}</TROUBLE-CODE><TEXT>{text}</TEXT></DTC>"
        for code, long, text in rows
    )
    coded = (
        f"<DIAG-CODED-TYPE {UINT}><BIT-LENGTH>{bits}</BIT-LENGTH></DIAG-CODED-TYPE>"
        '<PHYSICAL-TYPE BASE-DATA-TYPE="A_UINT32"/><COMPU-METHOD><CATEGORY>IDENTICAL</CATEGORY></COMPU-METHOD>'
    )
    return (
        f'<DTC-DOP ID="b.dop{bits}"><SHORT-NAME>dop{bits}</SHORT-NAME>{coded}<DTCS>{listed}</DTCS></DTC-DOP>'
    )


def constant(at: int, value: int, bits: int = 8) -> str:
    return (
        f'<PARAM xsi:type="CODED-CONST"><SHORT-NAME>c{at}</SHORT-NAME><BYTE-POSITION>{at}</BYTE-POSITION>'
        f"<CODED-VALUE>{value}</CODED-VALUE>"
        f"<DIAG-CODED-TYPE {UINT}><BIT-LENGTH>{bits}</BIT-LENGTH></DIAG-CODED-TYPE></PARAM>"
    )


TABLE_KEY = (
    '<PARAM xsi:type="TABLE-KEY" ID="b.key"><SHORT-NAME>key</SHORT-NAME><BYTE-POSITION>1</BYTE-POSITION>'
    '<TABLE-REF ID-REF="b.table"/></PARAM>'
)
TABLE = (
    '<TABLES><TABLE ID="b.table"><SHORT-NAME>dids</SHORT-NAME><KEY-DOP-REF ID-REF="b.u16"/>'
    '<TABLE-ROW ID="b.row1"><SHORT-NAME>odo</SHORT-NAME><LONG-NAME>Odometer  reading</LONG-NAME><KEY>258</KEY>'
    '<STRUCTURE-REF ID-REF="b.st"/></TABLE-ROW>'
    '<TABLE-ROW ID="b.row2"><SHORT-NAME>oil_level</SHORT-NAME><KEY>259</KEY>'
    '<STRUCTURE-REF ID-REF="b.st"/></TABLE-ROW></TABLE></TABLES>'
)


def document() -> str:
    """A base variant with every habit we know, and a variant of it that adds a fault."""
    services = {
        "Read_VIN": constant(0, 0x22) + constant(1, 0xF190, 16),
        "Serial_Lesen": constant(0, 0x22) + constant(1, 0xF18C, 16),
        "Write_Coding": constant(0, 0x2E) + constant(1, 0x0100, 16),
        "Read_by_table": constant(0, 0x22) + TABLE_KEY,
        "Start_Routine": constant(0, 0x31) + constant(1, 0x0203, 16),
        "Nothing": "",
    }
    comms = "".join(
        f'<DIAG-SERVICE ID="b.{name}"><SHORT-NAME>{name}</SHORT-NAME><REQUEST-REF ID-REF="b.rq.{name}"/></DIAG-SERVICE>'
        for name in services
    )
    requests = "".join(
        f'<REQUEST ID="b.rq.{name}"><SHORT-NAME>rq_{name}</SHORT-NAME><PARAMS>{params}</PARAMS></REQUEST>'
        for name, params in services.items()
    )
    faults = dtcs(
        24, (0x0A1F00, "Battery", "Battery\n   energy module"), (0xC10087, "Engine is silent", "")
    ) + dtcs(16, (0x4040, "Wheel", "Wheel speed sensor " + "x" * CHARS_MAX))
    dop = (
        f'<DATA-OBJECT-PROP ID="b.u16"><SHORT-NAME>u16</SHORT-NAME>{SAME.format(UINT, 16)}</DATA-OBJECT-PROP>'
    )
    structure = '<STRUCTURES><STRUCTURE ID="b.st"><SHORT-NAME>st</SHORT-NAME></STRUCTURE></STRUCTURES>'
    more = dtcs(24, (0x123456, "Added", "Added by the variant")).replace("b.d", "v.d").replace("dop24", "own")
    return (
        '<?xml version="1.0"?><ODX MODEL-VERSION="2.2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        '<DIAG-LAYER-CONTAINER ID="c"><SHORT-NAME>c</SHORT-NAME>'
        '<BASE-VARIANTS><BASE-VARIANT ID="b"><SHORT-NAME>ESP_9</SHORT-NAME><LONG-NAME>Stability control</LONG-NAME>'
        f"<DIAG-DATA-DICTIONARY-SPEC><DTC-DOPS>{faults}</DTC-DOPS><DATA-OBJECT-PROPS>{dop}</DATA-OBJECT-PROPS>"
        f"{structure}{TABLE}</DIAG-DATA-DICTIONARY-SPEC>"
        f"<DIAG-COMMS>{comms}</DIAG-COMMS><REQUESTS>{requests}</REQUESTS></BASE-VARIANT></BASE-VARIANTS>"
        '<ECU-VARIANTS><ECU-VARIANT ID="v"><SHORT-NAME>ESP_9_3</SHORT-NAME>'
        f"<DIAG-DATA-DICTIONARY-SPEC><DTC-DOPS>{more}</DTC-DOPS></DIAG-DATA-DICTIONARY-SPEC>"
        '<PARENT-REFS><PARENT-REF ID-REF="b" xsi:type="BASE-VARIANT-REF"/></PARENT-REFS>'
        "</ECU-VARIANT></ECU-VARIANTS></DIAG-LAYER-CONTAINER></ODX>"
    )


def archive(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name.replace("_odx", ".odx-d").replace("_xml", ".xml"), content)
    return path


def test_names_come_from_services_tables_and_fault_texts(tmp_path: Path) -> None:
    found = {
        one.variant: one for one in read_pdx(archive(tmp_path / "a.pdx", index_xml=INDEX, c_odx=document()))
    }
    base = found["ESP_9"]
    assert base.label == "Stability control"
    assert base.names.data == {
        "0100": "Coding", "0102": "Odometer reading", "0103": "oil_level", "F18C": "Serial", "F190": "VIN",
    }  # fmt: skip
    assert base.names.faults == {
        "C0040-00": ("Wheel speed sensor " + "x" * CHARS_MAX)[
            :CHARS_MAX
        ],  # of two bytes: without a failure type
        "P0A1F-00": "Battery energy module",
        "U0100-87": "Engine is silent",  # without a text its long name
    }


def test_a_variant_has_what_it_inherits_and_what_it_adds(tmp_path: Path) -> None:
    found = {
        one.variant: one for one in read_pdx(archive(tmp_path / "a.pdx", index_xml=INDEX, c_odx=document()))
    }
    base, variant = found["ESP_9"].names, found["ESP_9_3"].names
    assert variant.data == base.data
    assert variant.faults == base.faults | {"P1234-56": "Added by the variant"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a zip"),
        (b"PK\x03\x04 but no more", "not a zip"),
        (b"<ODX/>", "not a zip"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.pdx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        read_pdx(path)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<ODX",
        "<ODX MODEL-VERSION='2.2.0'/>",
        "<ODX MODEL-VERSION='x'><DIAG-LAYER-CONTAINER/></ODX>",
        "<ODX MODEL-VERSION='2.2.0'><DIAG-LAYER-CONTAINER><BASE-VARIANTS><BASE-VARIANT/></BASE-VARIANTS></DIAG-LAYER-CONTAINER></ODX>",
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
            f'<!ENTITY {"b" * n} "{("&" + (("b" * (n - 1)) or "a") + ";") * 10}">' for n in range(1, 12)
        ) + f"]><ODX>&{'b' * 11};</ODX>",
    ],
    ids=["empty", "cut", "no category", "no version", "no id", "entities that explode"],
)  # fmt: skip
def test_what_is_no_description_is_refused_with_one_line(tmp_path: Path, document: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_pdx(archive(tmp_path / "a.pdx", index_xml=INDEX, c_odx=document))
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 400


def test_an_archive_without_a_description_has_no_names(tmp_path: Path) -> None:
    assert read_pdx(archive(tmp_path / "a.pdx", index_xml=INDEX)) == []


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.pdx", index_xml=INDEX, c_odx=document())
    for bytes_max, said in ((path.stat().st_size - 1, "larger than"), (path.stat().st_size, "at most")):
        monkeypatch.setattr(pdx_read, "UNPACKED_BYTES_MAX", bytes_max)
        with pytest.raises(InvalidInput, match=said):
            read_pdx(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_pdx(tmp_path / "none.pdx")


def test_without_odxtools_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odxtools.database", None)
    with pytest.raises(Unavailable) as missing:
        read_pdx(archive(tmp_path / "a.pdx", index_xml=INDEX, c_odx=document()))
    assert "ringroad[odx]" in str(missing.value.hint)


def test_variants_go_to_the_ecus_that_are_called_like_them() -> None:
    found = [
        Described(variant=name, label=name, names=EcuNames()) for name in ("Zone_Left", "ZONELEFT", "ESP_9")
    ]
    assert match_variants(["brake", "zone-left"], found) == [("zone-left", found[0])]
    assert match_variants([], found) == match_variants(["brake"], []) == []
