"""Has the traffic drifted? Reference, statistics, thresholds, verdict."""
