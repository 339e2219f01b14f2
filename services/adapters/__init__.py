"""Where we talk to the outside: one file per foreign system or per part of the ledger."""
