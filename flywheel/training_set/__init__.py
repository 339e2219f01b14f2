"""What the next adapter learns from: examples, their leakage report, the snapshot."""
