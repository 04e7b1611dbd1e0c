"""The publish side of both repositories: what is signed next, and where it is kept. `store` does the I/O."""
