"""ISO-TP of ISO 15765-2, sans I/O: bytes and times in; frames and events out.

One `IsotpLink` is one pair of addresses. It sends one message and receives one at the same time.
Frames are payloads: which identifier they have is the business of whoever owns the bus (`isotp_channel.py`).

Invariant: a message is delivered whole or not at all. A frame that is lost, comes twice, or comes up to
fifteen places early or late ends the message. The sequence number has four bits and there is no checksum, so
what a driver delays further, ISO-TP cannot see; a flash is checked by its digest for that reason.

Times are whole microseconds of any clock that does not go back.
"""
