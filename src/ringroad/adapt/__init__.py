"""Adapt: what came of it, and how long each stage took."""
