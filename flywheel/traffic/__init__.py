"""Production traffic: what was asked, what was answered, and what may be said about it."""
