"""APScheduler: the calendar of retraining."""
