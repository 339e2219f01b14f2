"""Every HTTP route but the gateway's; the outbox's relay."""
