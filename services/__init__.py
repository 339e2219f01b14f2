"""What acts: one folder per process; ports, stores and integrations that they share."""
