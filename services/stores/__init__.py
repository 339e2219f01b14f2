"""What we keep: the ledger, the record of traffic, files and keys."""
