"""Storage: the ledger, the traffic store, files and keys."""
