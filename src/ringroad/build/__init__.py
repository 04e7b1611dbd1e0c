"""Build: a change becomes a checked, signed release, and vehicles on the line."""
