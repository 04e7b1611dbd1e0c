"""Values every room shares: errors, ids, clock, facts. Standard library only."""
