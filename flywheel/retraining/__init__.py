"""When to train, whether it is worth it, and the exact plan."""
