"""The processes: one folder each; and the ports, stores and integrations that they share."""
