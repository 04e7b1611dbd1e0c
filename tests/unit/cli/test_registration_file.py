from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.cli.registration_file import Row, read_registrations
from ringroad.kernel.errors import InvalidInput

A, B = "WRRDDP00000000001", "WRRDDP00000000002"


def test_csv_and_toml_say_the_same() -> None:
    table = f"vin,variant,region,tags,serial:telebox\n{A},box,NO,a; b,TB-1\n\n{B.lower()},box,,,\n"
    document = (
        f'[[vehicle]]\nvin = "{A}"\nvariant = "box"\nregion = "NO"\ntags = ["a", "b"]\n'
        f'serials = {{ telebox = "TB-1" }}\n[[vehicle]]\nvin = "{B}"\nvariant = "box"\n'
    )
    full = {"vin": A, "variant": "box", "region": "NO", "tags": ["a", "b"], "serials": {"telebox": "TB-1"}}
    short = {"vin": B, "variant": "box"}
    assert read_registrations(table.encode(), name="v.csv") == [
        Row(line=2, body=full),
        Row(line=4, body=short),
    ]
    assert read_registrations(document.encode(), name="v.toml") == [
        Row(line=1, body=full),
        Row(line=7, body=short),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "v.csv:1: the header has no vin"),
        (b"vin\nx\n", "v.csv:1: the header has no variant"),
        (b"vin,variant,colour\n", "v.csv:1: unknown column 'colour'"),
        (b"vin,variant,serial:\n", "v.csv:1: unknown column 'serial:'"),
        (b"vin,variant,vin\n", "v.csv:1: a column is there twice"),
        (b"vin,variant\n", "there is no vehicle"),
        (b"vin,variant\nWRRDDP00000000001\n", "v.csv:2: 1 fields, the header has 2"),
        (b"vin,variant\n\nSHORT,box\n", "v.csv:3: 'SHORT' is not a VIN"),
        (b"vin,variant\nWRRDDP00000000001,\n", "v.csv:2: '' is no variant"),
        (
            b"vin,variant\nWRRDDP00000000001,box\nWRRDDP00000000001,box\n",
            "v.csv:3: WRRDDP00000000001 is in line 2 too",
        ),
        (b'vin,variant\n"WRRDDP00000000001,box\n', "not CSV"),
        (b"vin,variant\n\xff\n", "v.csv:2: not UTF-8"),
        (b"vin,variant,region\nWRRDDP00000000001,box," + b"x" * 201, "v.csv:2: a field has more than 200"),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(content: bytes, complaint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_registrations(content, name="v.csv")
    assert complaint in refused.value.message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[[vehicle]\n", "v.toml:1: not TOML"),
        ("\n[vehicle]\nvin = 'x'\n", "v.toml:2: vehicles are [[vehicle]]"),
        ("fleet = 1\n", "v.toml:1: unknown 'fleet'"),
        ("[[vehicle]]\nvin = 3\nvariant = 'box'\n", "v.toml:1: vin must be a text"),
        ("[[vehicle]]\nvin = 'x'\n", "v.toml:1: variant must be a text"),
        ("\n[[vehicle]]\nvin = 'x'\nvariant = 'box'\ncolour = 'red'\n", "v.toml:2: unknown 'colour'"),
        ("[[vehicle]]\nvin = 'x'\nvariant = 'b'\ntags = 'a'\n", "tags must be a list of texts"),
        ("[[vehicle]]\nvin = 'x'\nvariant = 'b'\nserials = ['a']\n", "serials must be a table"),
        ("vehicle = [1]\n", "v.toml:1: a vehicle is a table"),
    ],
)
def test_a_bad_toml_is_refused_with_its_line(content: str, complaint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_registrations(content.encode(), name="v.toml")
    assert complaint in refused.value.message


def test_many_mistakes_are_told_up_to_a_limit() -> None:
    content = "vin,variant\n" + "x,box\n" * 50
    with pytest.raises(InvalidInput) as refused:
        read_registrations(content.encode(), name="v.csv")
    assert refused.value.message.count("\n") == 20
    assert refused.value.message.endswith("more")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet=string.printable, max_size=200).map(str.encode))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes) -> None:
    for name in ("v.csv", "v.toml"):
        try:
            found = read_registrations(content, name=name)
        except InvalidInput:
            continue
        assert all(row.body["vin"] and row.line > 0 for row in found)
