"""Signed webhooks: carries notifications to receivers."""
