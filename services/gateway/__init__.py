"""Stands before vLLM: alias, sticky arm, streaming, capture off the request path."""
