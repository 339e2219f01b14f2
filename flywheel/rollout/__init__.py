"""Moves a gated adapter through shadow and canary to promotion, and rolls it back."""
