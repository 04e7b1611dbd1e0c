"""How far the worker is with the telemetry stream."""

from __future__ import annotations

from nats.js.api import RetentionPolicy
from nats.js.errors import NotFoundError

from ringroad.storage.broker import STREAM, open_connection
from ringroad.storage.streams import CONSUMER


async def waiting_messages(nats_url: str) -> int:
    """Return how many messages the lake does not have yet."""
    client = await open_connection(nats_url)
    try:
        js = client.jetstream()
        stream = await js.stream_info(STREAM)
        if stream.config.retention == RetentionPolicy.WORK_QUEUE:  # what was acknowledged is gone
            return int(stream.state.messages)
        try:
            info = await js.consumer_info(STREAM, CONSUMER)
        except NotFoundError:  # nobody consumed yet: everything waits
            return int(stream.state.messages)
        return int(info.num_pending or 0) + int(info.num_ack_pending or 0)
    finally:
        await client.close()
