"""What can be exported, and how rows become CSV, JSON Lines or Parquet. Pure: rows in, bytes out, a batch at a time.

Memory is that of one batch, whatever the number of rows.
CSV is for a spreadsheet: no cell is JSON, and text that would run as a formula is defused. JSON Lines and Parquet are
whole: they have the documents as well that columns spell out.

Source: OWASP, "CSV Injection"; RFC 4180.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from ringroad.kernel.errors import InvalidInput

NUMBER_DIGITS_MAX: Final = 18  # of a number in a cursor; a bigint has 19
BATCH_ROWS: Final = 2_000  # rows of one batch, and of one row group of Parquet
_FORMULA: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # full width too


class Format(StrEnum):
    """How an export is written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


MEDIA_TYPE: Final[Mapping[Format, str]] = {
    Format.CSV: "text/csv",  # UTF-8: Litestar says so of every text
    Format.JSONL: "application/jsonl",
    Format.PARQUET: "application/vnd.apache.parquet",
}


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    TIME = "time"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One thing that can be exported.

    Attributes:
        name: as it is asked for.
        columns: name to kind, in order.
        query: in queries.sql, with a twin ``count_<query>``.
        of_campaign: whether it is about one campaign.
        key: columns that its rows are in the order of; those of the last row say where to go on.
        spelled_out: columns whose content other columns say in plain; CSV has those alone.
    """

    name: str
    columns: Mapping[str, Kind]
    query: str
    of_campaign: bool
    key: tuple[str, ...]
    spelled_out: frozenset[str] = frozenset()

    @property
    def csv_columns(self) -> Mapping[str, Kind]:
        """Name to kind of the columns of CSV, in order."""
        return {name: kind for name, kind in self.columns.items() if name not in self.spelled_out}


def _table(
    name: str, query: str, *, of_campaign: bool, key: str, columns: str, spelled_out: str = ""
) -> Table:
    pairs = (word.partition(":") for word in columns.split())
    kinds = {column: Kind(kind) if kind else Kind.TEXT for column, _, kind in pairs}
    return Table(
        name=name, columns=kinds, query=query, of_campaign=of_campaign, key=tuple(key.split()),
        spelled_out=frozenset(spelled_out.split()),
    )  # fmt: skip


TABLES: Final[Mapping[str, Table]] = {
    each.name: each
    for each in (
        _table(
            "vehicles",
            "export_vehicles",
            of_campaign=False,
            key="vin",
            columns="vin programme_id variant region tags:json gateway release_id release_version blocked_reason"
            " born_at:time attributes:json",
        ),
        _table(
            "ecus",
            "export_ecus",
            of_campaign=False,
            key="vin serial",
            columns="vin programme_id variant ecu serial hardware_id is_primary:flag version filename image_sha256"
            " reported_at:time added_at:time",
        ),
        _table(
            "results",
            "export_results",
            of_campaign=True,
            key="vin action_id",
            columns="vin variant region verdict reason wave:integer action_id:integer kind state state_detail release_id"
            " release_version previous_release_id offered_at:time deadline_at:time began_at:time last_report_at:time"
            " finished_at:time claimed_at:time",
        ),
        _table(
            "decisions",
            "export_decisions",
            of_campaign=True,
            key="id",
            columns="id:integer wave:integer decision reason decided_at:time"
            " vehicles_targeted:integer vehicles_installed:integer vehicles_downloaded:integer vehicles_failed:integer"
            " vehicles_rolled_back:integer vehicles_lost:integer vehicles_silent:integer vehicles_cancelled:integer"
            " newest_report_at:time released_targeted:integer released_installed:integer released_downloaded:integer"
            " released_failed:integer released_rolled_back:integer released_lost:integer released_silent:integer"
            " released_cancelled:integer reading_id:integer refused failed_permille_max:integer reports_min:integer"
            " soak_s:integer silence_s_max:integer silent_permille_max:integer alpha_ppm:integer facts:json policy:json",
            spelled_out="facts policy",
        ),
        _table(
            "evidence",
            "export_evidence",
            of_campaign=True,
            key="id",
            columns="id:integer metric stratum tick_began_at:time tick_s:integer updated_events:integer"
            " control_events:integer updated_hours:number control_hours:number updated_trials:integer"
            " control_trials:integer updated_measured:integer control_measured:integer updated_mean:number"
            " control_mean:number recorded_at:time tick:integer counts:json",
            spelled_out="tick counts",
        ),
        _table(
            "facts",
            "export_facts",
            of_campaign=False,
            key="seq",
            columns="seq:integer id kind stage subject lap_id causes:json actor work_started_at:time event_at:time"
            " recorded_at:time body:json",
        ),
    )
}


def cursor_of(table: Table, row: Mapping[str, Any]) -> str:
    """Return what names the place behind a row."""
    return "/".join("" if row[name] is None else str(row[name]) for name in table.key)


def read_cursor(
    table: Table, after: str | None, *, form: Format = Format.JSONL
) -> dict[str, str | int | None]:
    """Return the values by which a query goes on behind a row; of None, those of its beginning.

    Args:
        table: that is gone on with.
        after: the key of the last row, as it stands in the export.
        form: of that export; what CSV puts before text that looks like a formula is no part of it.

    Raises:
        InvalidInput: it is no place in this table.
    """
    values: dict[str, str | int | None] = {"after_text": None, "after_second": None, "after_number": None}
    if after is None:
        return values
    words = after.split("/", max(1, len(table.key) - 1))  # a serial may have any sign in it
    if len(words) != len(table.key):
        raise InvalidInput(
            f"{after[:80]!r} is no place in {table.name}",
            hint=f"{'/'.join(table.key)} of the last row you have",
            code="cursor",
        )
    for name, word in zip(table.key, words, strict=True):
        if table.columns[name] is Kind.TEXT:
            if form is Format.CSV and word.startswith("'") and word[1:].startswith(_FORMULA):
                word = word[1:]  # noqa: PLW2901 - as `cell` wrote it
            values["after_text" if values["after_text"] is None else "after_second"] = word
        elif word or len(words) > 1:
            if word and not (word.isascii() and word.isdecimal() and len(word) <= NUMBER_DIGITS_MAX):
                raise InvalidInput(f"{word[:80]!r} is no {name}", code="cursor")
            values["after_number"] = int(word) if word else None
    return values


def encode(
    table: Table, form: Format, batches: Iterable[Sequence[Mapping[str, Any]]], *, goes_on: bool = False
) -> Iterator[bytes]:
    """Yield an export piece by piece, at least one piece for each batch.

    Args:
        table: whose columns are written, in their order.
        form: CSV, JSON Lines or Parquet.
        batches: rows as the database gives them.
        goes_on: it is put behind what there is already: CSV has no second heading.
    """
    match form:
        case Format.CSV:
            yield from _csv(table, batches, headed=not goes_on)
        case Format.JSONL:
            yield from _jsonl(table, batches)
        case Format.PARQUET:
            yield from _parquet(table, batches)


def _csv(table: Table, batches: Iterable[Sequence[Mapping[str, Any]]], *, headed: bool) -> Iterator[bytes]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    columns = table.csv_columns
    if headed:
        writer.writerow(columns)
    for batch in batches:
        writer.writerows([cell(kind, row[name]) for name, kind in columns.items()] for row in batch)
        yield out.getvalue().encode()
        out.seek(0)
        out.truncate()
    yield out.getvalue().encode()


def cell(kind: Kind, value: Any) -> str:
    """Return a value for CSV: a list as ``a, b``, a document as ``name=value; name.of.name=value``.

    Text that begins like a formula gets an apostrophe before it.
    """
    if value is None:
        return ""
    match kind:
        case Kind.TIME:
            return _time(value)
        case Kind.FLAG:
            return "true" if value else "false"
        case Kind.INTEGER | Kind.NUMBER:
            return str(value)
        case Kind.JSON | Kind.TEXT:
            text = "; ".join(_members("", value)) if kind is Kind.JSON else str(value)
            return f"'{text}" if text.startswith(_FORMULA) else text


def _members(path: str, value: Any) -> Iterator[str]:
    """Yield what stands in a list or document, each with the names that lead to it."""
    match value:
        case Mapping():
            for name, each in sorted(value.items()):
                yield from _members(f"{path}.{name}" if path else name, each)
        case list() if any(isinstance(each, Mapping | list) for each in value):
            for number, each in enumerate(value, 1):
                yield from _members(f"{path}.{number}" if path else str(number), each)
        case _:
            text = ", ".join(map(_word, value)) if isinstance(value, list) else _word(value)
            yield f"{path}={text}" if path else text


def _word(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else _json(value)


def _jsonl(table: Table, batches: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for batch in batches:
        lines = [{name: _plain(kind, row[name]) for name, kind in table.columns.items()} for row in batch]
        yield encoder.encode_lines(lines)


def _parquet(table: Table, batches: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[bytes]:
    import pyarrow as pa  # noqa: PLC0415 - 60 MB that a server without exports does not need
    from pyarrow import parquet as pq  # noqa: PLC0415 - same

    types = {
        Kind.TEXT: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.FLAG: pa.bool_(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.JSON: pa.string(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in table.columns.items()])
    out = _Sink()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch in batches:
            columns = [
                [
                    _json(row[name]) if kind is Kind.JSON and row[name] is not None else row[name]
                    for row in batch
                ]
                for name, kind in table.columns.items()
            ]
            writer.write_table(
                pa.Table.from_arrays(
                    [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
                )
            )
            yield out.take()
    yield out.take()


class _Sink(io.RawIOBase):
    """A file that is read as fast as it is written."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._pieces.append(data)
        self._written += len(data)
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _plain(kind: Kind, value: Any) -> Any:
    return _time(value) if kind is Kind.TIME and value is not None else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
