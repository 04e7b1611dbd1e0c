"""Entries of the journal as its payloads, and back. What they mean is in `states`."""

from __future__ import annotations

from typing import Any

import msgspec

from ringroad.kernel.errors import Corrupt
from ringroad.vehicle.states import Entry

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the journal payload of `entry`."""
    return _ENCODER.encode(entry)


def decode_entry(payload: bytes) -> Entry:
    """Return the entry of a journal payload.

    Raises:
        Corrupt: it passed its checksum, but this version does not know what it means.
    """
    try:
        entry: Entry = _DECODER.decode(payload)
    except msgspec.MsgspecError as error:
        raise Corrupt(
            f"a journal record cannot be read: {error}",
            hint="it was probably written by a newer version; start that one",
            code="journal_unknown",
        ) from error
    return entry
