"""Ringroad: a vehicle maker's whole loop, signal to design to build to ship to adapt, as one system.

The rooms and the direction of imports between them are drawn in ARCHITECTURE.md.
"""

__version__ = "0.1.0"
