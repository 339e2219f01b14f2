"""GGUF: reads a base model's weights out of a package."""
