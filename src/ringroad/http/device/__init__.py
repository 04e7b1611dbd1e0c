"""Gateways that vehicles and device clients talk to."""
