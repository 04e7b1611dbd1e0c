"""Deltas between images of releases: which are worth making, how they are made, where they are kept.

Made in a process of its own (`make.py`), by the worker and in the background: a release never waits for its deltas.
"""
