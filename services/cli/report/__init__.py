"""``flywheel report``: the content of a ledger as JSON and as a page."""
