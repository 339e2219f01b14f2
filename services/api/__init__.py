"""Process: every HTTP route but the gateway's, and the relay of the outbox."""
