"""``flywheel report``: what a ledger tells, as JSON and as a page."""
