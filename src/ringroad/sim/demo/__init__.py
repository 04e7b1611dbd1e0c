"""The demo: one whole lap on real engines, told step by step."""
