"""The OpenAI API: asks a model for answers."""
