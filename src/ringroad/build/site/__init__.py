"""Plants with engines of their own: what a hub knows of them, and what they tell it."""
