"""Simulated vehicles, ECUs, plants and networks around the real code."""
