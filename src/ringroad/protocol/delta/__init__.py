"""Deltas between two images: how a new image comes out of an old one and a small file.

Two formats, both made by others and chosen by measurement (docs/adr/0084-two-formats-of-deltas.md):

``hdiff13``  HDiffPatch's HDIFF13 with LZMA2, for images of Linux-class ECUs: `hdiff13.py`
``hpatchlite``  HPatchLite with tinyuz, for images of MCUs; every buffer together fits into 4 KiB: `hpatchlite.py`

``ihex+`` before either means that both images are Intel HEX files and the delta is between what they say:
`ihex.py`.

Bytes in, bytes out, a piece at a time: no file, no network, no clock. Whoever calls has compared the delta and the
base with signed digests before, and compares the result with its own after: none of these formats notices a wrong
base by itself.

Invariants:
    * Memory is bounded by constants, whatever the delta says.
    * Exactly the announced number of bytes comes out, or `MalformedDelta`.
    * Each step of a decoder makes progress, so that a small delta cannot keep it busy for longer than the image is.
"""
