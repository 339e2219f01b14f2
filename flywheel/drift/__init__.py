"""Has the world moved? Reference, statistics, thresholds, verdict."""
