"""Measurements of this machine, side by side with peers in one run. Never a timed test."""
