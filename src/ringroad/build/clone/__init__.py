"""A plant cloned from others: what it may believe before it has built anything, and what it learns. Pure."""
