"""The vehicle's signals as a `kuksa.val.v2` server on loopback: clients of Eclipse Kuksa get, set and subscribe unchanged.

Imported only where `kuksa_port` is set: gRPC and the messages come with the extra `ringroad[kuksa]`.

Not here: actuation (`Actuate`, `OpenProviderStream` are unimplemented), authorization, arrays.
From v1 there is what clients ask for before they use v2: `GetServerInfo`, and `Get` of values and types.

Invariants:
    * It listens on loopback only: who reaches it may say what the vehicle's signals are, as who writes `signals_file` may.
    * A subscription goes on with the leaves that there are: one that is missing blinds nobody, and joins when it appears.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from kuksa.val.v1 import types_pb2 as types_v1
from kuksa.val.v1 import val_pb2 as val_v1
from kuksa.val.v1 import val_pb2_grpc as grpc_v1
from kuksa.val.v2 import types_pb2, val_pb2, val_pb2_grpc

import ringroad
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError, Unavailable
from ringroad.protocol.vehicle import Sample
from ringroad.vehicle.leaves import Leaf, SharedSignals, Value, matching

HOST: Final = "127.0.0.1"
NAME: Final = "ringroad"
CALLS_MAX: Final = 32  # at once, subscriptions among them
MESSAGE_BYTES_MAX: Final = 1024**2  # bytes; metadata of 1,400 leaves are 0.2 MB
PATHS_MAX: Final = 1_000  # of one request
LOOK_S: Final = 0.1  # s between two looks for changed values, of each subscription

_FIELD: Final = {
    "string": "string", "boolean": "bool", "float": "float", "double": "double", "int8": "int32", "int16": "int32",
    "int32": "int32", "int64": "int64", "uint8": "uint32", "uint16": "uint32", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


async def serve_kuksa(signals: SharedSignals, clock: Clock, *, port: int) -> None:
    """Serve until cancelled.

    Raises:
        Unavailable: the port is taken.
    """
    server = grpc.aio.server(
        maximum_concurrent_rpcs=CALLS_MAX, options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.so_reuseport", 0)]
    )  # fmt: skip
    val_pb2_grpc.add_VALServicer_to_server(SignalService(signals, clock), server)
    grpc_v1.add_VALServicer_to_server(FirstService(signals, clock), server)
    try:
        server.add_insecure_port(f"{HOST}:{port}")
    except RuntimeError as error:
        raise Unavailable(
            f"port {port} on {HOST} is taken",
            hint="it is tried again, for what ran before may be ending still; else choose another kuksa_port",
        ) from error
    await server.start()
    try:
        await asyncio.get_running_loop().create_future()  # `wait_for_termination` breaks when it is cancelled
    finally:
        await server.stop(None)


class SignalService(val_pb2_grpc.VALServicer):  # type: ignore[misc]  # generated code has no types
    """`kuksa.val.v2.VAL` over a vehicle's signals."""

    def __init__(self, signals: SharedSignals, clock: Clock) -> None:
        self._signals = signals
        self._clock = clock
        self._ids: dict[str, int] = {}

    async def GetServerInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Say who answers."""
        return val_pb2.GetServerInfoResponse(name=NAME, version=ringroad.__version__)

    async def ListMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """List leaves at or below a path."""
        leaves = self._signals.leaves(self._clock.now())
        found = matching(leaves, [request.root])
        if not found:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no signal {request.root[:100]!r}")
        return val_pb2.ListMetadataResponse(metadata=[self._metadata(leaves[path]) for path in found])

    async def GetValue(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return one value; a leaf that nobody said anything of has none."""
        return val_pb2.GetValueResponse(data_point=(await self._points([request.signal_id], context))[0])

    async def GetValues(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return several values."""
        return val_pb2.GetValuesResponse(data_points=await self._points(request.signal_ids, context))

    async def PublishValue(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take a value."""
        path = await self._path(request.signal_id, context)
        field = request.data_point.value.WhichOneof("typed_value")
        value = getattr(request.data_point.value, field) if field else None
        try:
            if value is None or field.endswith("_array"):
                raise InvalidInput("a value is text, a number or a boolean")
            self._signals.publish(path, value, now=self._clock.now())
        except NotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, error.message)
        except RingroadError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        return val_pb2.PublishValueResponse()

    async def Subscribe(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send what is known, then what changed."""
        paths = list(request.signal_paths)
        leaves = self._signals.leaves(self._clock.now())
        if len(paths) > PATHS_MAX or not matching(leaves, paths):
            await context.abort(grpc.StatusCode.NOT_FOUND, "none of these signals is there")
        told: dict[str, Value] = {}
        while True:
            now = self._clock.now()
            leaves = self._signals.leaves(now)
            wanted = matching(leaves, paths)
            current = {each.path: each for each in self._signals.read(now)}
            changed = {
                path: current[path]
                for path in wanted
                if path in current and told.get(path) != current[path].value
            }
            entries = {path: _point(leaves[path], sample) for path, sample in changed.items()}
            told |= {path: sample.value for path, sample in changed.items()}
            if entries:
                yield val_pb2.SubscribeResponse(entries=entries)
            await asyncio.sleep(LOOK_S)

    async def _points(self, signal_ids: Any, context: Any) -> list[Any]:
        if len(signal_ids) > PATHS_MAX:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"at most {PATHS_MAX} signals at once")
        now = self._clock.now()
        leaves = self._signals.leaves(now)
        current = {each.path: each for each in self._signals.read(now)}
        points = []
        for signal_id in signal_ids:
            path = await self._path(signal_id, context)
            if path not in leaves:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no signal {path[:100]!r}")
            points.append(_point(leaves[path], current.get(path)))
        return points

    async def _path(self, signal_id: Any, context: Any) -> str:
        if signal_id.HasField("path"):
            return str(signal_id.path)
        for path, number in self._ids.items():
            if number == signal_id.id:
                return path
        await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no signal with id {signal_id.id}")
        raise AssertionError  # abort does not come back

    def _metadata(self, leaf: Leaf) -> Any:
        number = self._ids.setdefault(leaf.path, len(self._ids) + 1)
        return types_pb2.Metadata(
            path=leaf.path, id=number, data_type=_data_type(leaf), unit=leaf.unit, description=leaf.description,
            entry_type=types_pb2.EntryType.Value(f"ENTRY_TYPE_{leaf.kind.upper()}"),
        )  # fmt: skip


class FirstService(grpc_v1.VALServicer):  # type: ignore[misc]  # generated code has no types
    """What clients ask of `kuksa.val.v1.VAL` before they use v2."""

    def __init__(self, signals: SharedSignals, clock: Clock) -> None:
        self._signals = signals
        self._clock = clock

    async def GetServerInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say who answers."""
        return val_v1.GetServerInfoResponse(name=NAME, version=ringroad.__version__)

    async def Get(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Return values and types; what is not there is told beside what is."""
        now = self._clock.now()
        leaves = self._signals.leaves(now)
        current = {each.path: each for each in self._signals.read(now)}
        entries, errors = [], []
        for asked in list(request.entries)[:PATHS_MAX]:
            found = matching(leaves, [asked.path])
            if not found:
                why = types_v1.Error(code=404, reason="not_found", message="there is no such signal")
                errors.append(types_v1.DataEntryError(path=asked.path, error=why))
            for path in found:
                entry = types_v1.DataEntry(
                    path=path, metadata=types_v1.Metadata(data_type=_data_type(leaves[path]))
                )
                _fill(entry, leaves[path], current.get(path))
                entries.append(entry)
        response = val_v1.GetResponse(entries=entries, errors=errors)
        if errors:
            response.error.CopyFrom(errors[0].error)
        return response


def _point(leaf: Leaf, sample: Sample | None) -> Any:
    point = types_pb2.Datapoint()
    field = _FIELD.get(leaf.datatype)
    if sample is not None and field is not None:
        try:
            setattr(point.value, field, _cast(field, sample.value))
        except (TypeError, ValueError, OverflowError):
            return point  # of another type than its leaf: nothing that could be said
        point.timestamp.FromDatetime(sample.at)
    return point


def _fill(entry: Any, leaf: Leaf, sample: Sample | None) -> None:
    field = _FIELD.get(leaf.datatype)
    if sample is None or field is None:
        return
    try:
        setattr(entry.value, field, _cast(field, sample.value))
    except (TypeError, ValueError, OverflowError):
        return
    entry.value.timestamp.FromDatetime(sample.at)


def _cast(field: str, value: Value) -> Value:
    if (field == "bool") is not isinstance(value, bool) or (field == "string") is not isinstance(value, str):
        raise TypeError(field)
    if field in {"string", "bool"}:
        return value
    return float(value) if field in {"float", "double"} else int(value)


def _data_type(leaf: Leaf) -> int:
    """Return the number of a VSS datatype, the same in v1 and v2."""
    name = leaf.datatype.upper()
    known = f"DATA_TYPE_{name.removesuffix('[]')}_ARRAY" if name.endswith("[]") else f"DATA_TYPE_{name}"
    items = dict(types_pb2.DataType.items())
    return int(items.get(known, 0))
