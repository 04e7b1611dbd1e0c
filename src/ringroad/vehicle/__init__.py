"""The in-vehicle process: orchestrator, update agents, diagnostics, collector."""
