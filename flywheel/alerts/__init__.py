"""Who must know, who knows, and when it is over."""
