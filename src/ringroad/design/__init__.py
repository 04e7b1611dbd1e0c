"""Design: a finding becomes a change."""
