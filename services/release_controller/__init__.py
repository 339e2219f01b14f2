"""The only one that loads and unloads adapters; shadow, canary, promotion, rollback."""
