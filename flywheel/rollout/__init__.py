"""From a proven adapter to users and back: shadow, canary, promotion, rollback."""
