"""Management API and console."""
