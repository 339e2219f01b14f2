"""The training set of the next adapter: examples, their leakage report, the snapshot."""
