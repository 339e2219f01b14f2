"""vLLM: starts the server, loads and unloads adapters, reads log probabilities."""
