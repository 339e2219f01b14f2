"""Loads and unloads adapters, and moves releases through shadow, canary, promotion and rollback."""
