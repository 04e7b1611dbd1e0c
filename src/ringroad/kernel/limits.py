"""Limits that more than one room must agree on. Unit last in each name; source beside each value."""

from __future__ import annotations

from typing import Final

IMAGE_BYTES_MAX: Final = 8 * 1024**3  # bytes; larger than any ECU image we know of (infotainment, 6 GB)
METADATA_BYTES_MAX: Final = 4 * 1024**2  # bytes; Uptane 5.4.4 asks for a cap; 33 ECUs need 15 kB
MANIFEST_BYTES_MAX: Final = 1024**2  # bytes; 33 signed ECU reports are 40 kB
REQUEST_BYTES_MAX: Final = 16 * 1024**2  # bytes; management requests other than image uploads
FEEDBACK_BYTES_MAX: Final = 256 * 1024  # bytes; SWUpdate sends log lines in `details`
ECUS_MAX: Final = 256  # per vehicle; the densest vehicles on the road have about 150
ACTION_ID_MAX: Final = 2**31 - 1  # SWUpdate parses DDI action ids as a C int
DELTAS_MAX: Final = 4  # per ECU of a signed target; the image it runs, and three it may run by now
PAGE_ROWS_MAX: Final = 1_000  # rows per page of any list
TELEMETRY_BATCH_MAX: Final = 1_000  # samples per message
VIN_CHARS: Final = 17  # ISO 3779
REGISTRATIONS_MAX: Final = 500  # vehicles per request; one transaction of a second
PUBLIC_KEY_CHARS_MAX: Final = 4_000  # characters of PEM; an RSA key of 8,192 bits has 1,500
