"""What Flywheel decides: plain values in; a verdict with its reason and evidence out."""
