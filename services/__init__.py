"""What acts: one folder per process; what they need stands in ports, what we keep in stores, what others made in integrations."""
