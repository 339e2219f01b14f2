"""ledger.db: everything but traffic, one file per concept."""
