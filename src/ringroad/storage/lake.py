"""The telemetry lake: Parquet files that are only ever added, read as sets of rows that count once.

Three tables below one folder, partitioned by date::

    samples/date=2026-11-23/seq-000000000001-000000000512-1f0c9ad2b3e4.parquet    VSS samples
    faults/date=.../...                                               fault code changes
    exposure/date=.../...                                             which software an ECU ran, as observed

Times are integer microseconds since 1970 UTC, so that every engine reads the same number.

Not here: what the rows mean for a decision (`measures.py`), and who may be in them (`signal/ingest.py`).

Invariants:
    A file appears whole or not at all, under a name that follows from the stream sequence and the bytes it holds:
        a delivery in another grouping, or from a stream that began anew, never takes another's place.
    The same row, delivered or compacted any number of times, is read once: its key is (vin, batch, index).
    Late rows land in the partition of their own date; nothing is dropped for being late.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from ringroad.kernel.errors import Corrupt, InvalidInput, Unavailable

ROWS_PER_GROUP_MAX = 128 * 1024  # rows; DuckDB reads row groups in parallel
ZSTD_LEVEL = 3  # measured: 1.4 to 1.9 bytes per row, 5 million rows a second
DUCKDB_THREADS = 2
DUCKDB_MEMORY = "1GB"
COMPACT_FILES_MIN = 16  # files per partition before they are merged
COMPACT_BYTES_MAX = 256 * 1024**2  # bytes; larger files are left alone
KEY = ("vin", "batch", "index")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NAME = re.compile(r"(?:seq|compact)-(\d{12})-(\d{12})(?:-[0-9a-f]{12})?\.parquet")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """One VSS sample. `clock` says whether its time can be believed: ok, late, ahead, unset."""

    vin: str
    batch: int
    index: int
    programme: str
    variant: str
    at_us: int
    path: str
    kind: str  # float, int, bool, text
    number: float | None
    text: str | None
    clock: str
    received_us: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One change of a fault code's status."""

    vin: str
    batch: int
    index: int
    programme: str
    variant: str
    at_us: int
    ecu: str
    code: str
    status: int
    software_version: str
    snapshot: str  # JSON
    clock: str
    received_us: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureRow:
    """An ECU was seen to run a software version at `at_us`, with data reaching back to `since_us`."""

    vin: str
    batch: int
    index: int
    programme: str
    variant: str
    at_us: int
    since_us: int
    ecu: str
    software_version: str
    release: str
    clock: str
    received_us: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one or more messages became."""

    samples: tuple[SampleRow, ...] = ()
    faults: tuple[FaultRow, ...] = ()
    exposure: tuple[ExposureRow, ...] = ()


_INT, _TEXT, _REAL = pa.int64(), pa.string(), pa.float64()
_TYPES = {_INT: ("int64", "BIGINT"), _TEXT: ("string", "VARCHAR"), _REAL: ("float64", "DOUBLE")}
_HEAD = [
    ("vin", _TEXT),
    ("batch", _INT),
    ("index", _INT),
    ("programme", _TEXT),
    ("variant", _TEXT),
    ("at_us", _INT),
]
_TAIL = [("clock", _TEXT), ("received_us", _INT), ("seq", _INT)]
SCHEMAS: Mapping[str, pa.Schema] = {
    "samples": pa.schema(
        [*_HEAD, ("path", _TEXT), ("kind", _TEXT), ("number", _REAL), ("text", _TEXT), *_TAIL]
    ),
    "faults": pa.schema(
        [
            *_HEAD,
            ("ecu", _TEXT),
            ("code", _TEXT),
            ("status", _INT),
            ("software_version", _TEXT),
            ("snapshot", _TEXT),
            *_TAIL,
        ]
    ),
    "exposure": pa.schema(
        [*_HEAD, ("since_us", _INT), ("ecu", _TEXT), ("software_version", _TEXT), ("release", _TEXT), *_TAIL]
    ),
}


def to_us(at: datetime) -> int:
    """Return whole microseconds since 1970 UTC."""
    return (at - EPOCH) // timedelta(microseconds=1)


def from_us(at_us: int) -> datetime:
    """Return the time of `at_us`."""
    return EPOCH + timedelta(microseconds=at_us)


class View:
    """The lake's tables as Ibis expressions, each row once, answered by one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @staticmethod
    def table(name: str, *, since_us: int | None = None) -> Any:
        """Return the expression of `samples`, `faults` or `exposure`, duplicates removed.

        Of equal keys the first delivered wins, so that a later message cannot rewrite history.
        With `since_us` only rows from then on are read at all.
        """
        raw = _unbound(name)
        if since_us is not None:
            raw = raw.filter(raw.at_us >= since_us)
        ranked = raw.mutate(
            copy=ibis.row_number().over(
                group_by=[raw[key] for key in KEY], order_by=[raw.seq, raw.received_us]
            )
        )
        return ranked.filter(ranked.copy == 0).drop("copy")

    @staticmethod
    def raw(name: str) -> Any:
        """Return the expression of a table as it was delivered, duplicates included."""
        return _unbound(name)

    def keep(self, name: str, expression: Any) -> Any:
        """Answer an expression once and return it as a table that further expressions can ask."""
        self.keep_sql(name, sql_of(expression))
        return ibis.table(expression.schema(), name=name)

    def keep_sql(self, name: str, sql: str) -> None:
        """Answer what `sql_of` returned once, as a table of that name."""
        self._connection.execute(f'CREATE TEMP TABLE "{name}" AS {sql}')

    def add(self, name: str, rows: pa.Table) -> Any:
        """Give rows that are not of the lake a name in this view, and return them as a table to join with."""
        self._connection.register(name, rows)
        return ibis.table(ibis.Schema.from_pyarrow(rows.schema), name=name)

    def rows(self, expression: Any) -> list[dict[str, Any]]:
        """Run one expression and return its rows."""
        # Compiled here and run by DuckDB itself: ibis 12 calls methods that DuckDB 2 deprecates.
        return self.rows_sql(sql_of(expression))

    def rows_sql(self, sql: str) -> list[dict[str, Any]]:
        """Run what `sql_of` returned and return its rows."""
        result: list[dict[str, Any]] = self._connection.sql(sql).to_arrow_table().to_pylist()
        return result

    def columns(self, expression: Any) -> dict[str, list[Any]]:
        """Run one expression and return its columns: a list for each, where there may be a million rows."""
        result: dict[str, list[Any]] = self._connection.sql(sql_of(expression)).to_arrow_table().to_pydict()
        return result


def sql_of(expression: Any) -> str:
    """Return the SQL text of an expression, as evidence of what was asked."""
    return str(ibis.to_sql(expression, dialect="duckdb"))


class Lake:
    """The lake below one folder. Many readers, one writer (the worker)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, rows: Rows, *, first_seq: int, last_seq: int) -> list[Path]:
        """Make rows durable; when this returns, the sender's copy may go.

        The file names follow from the sequence range and the content, so that the same delivery again rewrites
        the same files, and no other delivery does.

        Returns:
            The files written, one per table and date.

        Raises:
            InvalidInput: the range is not a range.
            Unavailable: the disk is full or read-only; nothing was lost, the range can be written again.
        """
        if not 0 <= first_seq <= last_seq:
            raise InvalidInput(f"{first_seq}..{last_seq} is not a sequence range")
        written = []
        name = f"seq-{first_seq:012d}-{last_seq:012d}"
        for table, items in (("samples", rows.samples), ("faults", rows.faults), ("exposure", rows.exposure)):
            for date, part in _by_date(items).items():
                rows_table = pa.Table.from_pylist(part, schema=SCHEMAS[table])
                written.append(_write_atomically(self.root / table / f"date={date}", name, rows_table))
        return written

    def files(self, table: str) -> list[Path]:
        """Return the files of a table, in the order of their names."""
        if table not in SCHEMAS:
            raise InvalidInput(f"no table {table!r} in the lake", hint=", ".join(SCHEMAS))
        return sorted(
            path for path in (self.root / table).glob("date=*/*.parquet") if _NAME.fullmatch(path.name)
        )

    def read(self, question: Callable[[View], T]) -> T:
        """Ask a question of the lake as it is now; a file that is compacted away meanwhile is not missed.

        A first reading takes no lock. If files went away under it, a second one keeps them: a compaction that is taking
        files away is waited for, and the next one waits for the reading.

        Raises:
            Unavailable: the disk does not read.
            Corrupt: a file does not read back.
        """
        for keeping in (contextlib.nullcontext(), self._locked(fcntl.LOCK_SH)):
            with keeping:
                listed = {table: self.files(table) for table in SCHEMAS}
                try:
                    return _ask(listed, question)
                except (duckdb.IOException, FileNotFoundError) as error:
                    if all(path.exists() for files in listed.values() for path in files):
                        raise Unavailable(
                            "the lake cannot be read", hint="look at the disk", detail=str(error)
                        ) from error
        raise Unavailable(
            "files of the lake go away while they are read", hint="only the worker may remove them"
        )

    def compact(self, *, files_min: int = COMPACT_FILES_MIN) -> int:
        """Merge the small files of each partition that has many; return how many files went away.

        A file that is bigger than all smaller ones together waits until they have grown. The merged file appears before its parts go: a cut in between leaves duplicates, which count once.

        Raises:
            Unavailable: the disk is full or read-only.
        """
        gone = 0
        for table in SCHEMAS:
            partitions: dict[Path, dict[Path, int]] = {}
            for path in self.files(table):
                size = path.stat().st_size
                if size < COMPACT_BYTES_MAX:
                    partitions.setdefault(path.parent, {})[path] = size
            for parent, sizes in partitions.items():
                parts = _worth_merging(sizes)
                if len(parts) >= max(2, files_min):
                    merged = _merge(table, parent, parts)
                    with self._locked(fcntl.LOCK_EX):
                        gone += _remove(path for path in parts if path != merged)
        return gone

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        """Hold the lake's folder: `LOCK_EX` to take files away, `LOCK_SH` to have none taken away."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, how)
            yield
        finally:
            os.close(folder)


def _ask(listed: Mapping[str, Sequence[Path]], question: Callable[[View], T]) -> T:
    connection = duckdb.connect(config={"threads": DUCKDB_THREADS, "memory_limit": DUCKDB_MEMORY})
    try:
        for table, files in listed.items():
            _attach(connection, table, files)
        return question(View(connection))
    except duckdb.IOException:
        raise
    except duckdb.Error as error:
        raise Corrupt(
            "a file of the lake does not read back", hint="ringroad doctor names it", detail=str(error)
        ) from error
    finally:
        connection.close()


def _worth_merging(sizes: Mapping[Path, int]) -> list[Path]:
    """Leave out what is bigger than all smaller files together: so a row is rewritten each time its file doubles."""
    parts = sorted(sizes, key=lambda path: (sizes[path], path.name))
    rest = sum(sizes.values())
    while parts:
        rest -= sizes[parts[-1]]
        if len(parts) == 1 or sizes[parts[-1]] <= rest:
            break
        parts.pop()
    return sorted(parts)


def _merge(table: str, parent: Path, parts: Sequence[Path]) -> Path:
    """Write the rows of `parts` as one file, and return it."""
    ranges = [match.groups() for path in parts if (match := _NAME.fullmatch(path.name))]
    first = min(int(low) for low, _ in ranges)
    last = max(int(high) for _, high in ranges)
    merged = pa.concat_tables(pq.read_table(path, schema=SCHEMAS[table], partitioning=None) for path in parts)
    merged = merged.sort_by(
        [("vin", "ascending"), ("at_us", "ascending"), ("batch", "ascending"), ("index", "ascending")]
    )
    return _write_atomically(parent, f"compact-{first:012d}-{last:012d}", merged)


def _remove(parts: Iterable[Path]) -> int:
    gone = 0
    for path in parts:
        path.unlink(missing_ok=True)
        gone += 1
    return gone


def _attach(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path]) -> None:
    """Give the files of a table a name in SQL; a table without files is an empty one."""
    if files:
        paths = ", ".join("'" + str(path).replace("'", "''") + "'" for path in files)
        source = f"SELECT * FROM read_parquet([{paths}], hive_partitioning = false, union_by_name = true)"  # noqa: S608 - our own file names, quoted
        connection.execute(f'CREATE VIEW "{name}_files" AS {source}')
        return
    columns = ", ".join(f'"{field.name}" {_TYPES[field.type][1]}' for field in SCHEMAS[name])
    connection.execute(f'CREATE TABLE "{name}_files" ({columns})')


def _unbound(name: str) -> Any:
    """Return the table as an expression that any engine can compile."""
    return ibis.table({field.name: _TYPES[field.type][0] for field in SCHEMAS[name]}, name=f"{name}_files")


def _by_date(items: Iterable[SampleRow | FaultRow | ExposureRow]) -> dict[str, list[dict[str, Any]]]:
    """Partition by the row's own date, or by the date of receipt where its clock cannot be believed."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        at_us = item.at_us if item.clock in {"ok", "late"} else item.received_us
        parts.setdefault(from_us(at_us).date().isoformat(), []).append(asdict(item))
    for part in parts.values():
        part.sort(key=lambda row: (row["vin"], row["at_us"], row["batch"], row["index"]))
    return parts


def _write_atomically(folder: Path, name: str, table: pa.Table) -> Path:
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            pq.write_table(
                table,
                stream,
                compression="zstd",
                compression_level=ZSTD_LEVEL,
                row_group_size=ROWS_PER_GROUP_MAX,
            )
            stream.flush()
            os.fsync(stream.fileno())
        with temporary.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        path = folder / f"{name}-{digest[:12]}.parquet"
        temporary.replace(path)
        # The rename itself must survive a power cut: sync the folder, and its parents when they may be new.
        for changed in (folder, folder.parent, folder.parent.parent):
            _sync_folder(changed)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Unavailable("the lake cannot be written", hint="look at the disk", detail=str(error)) from error
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
