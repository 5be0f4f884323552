"""Synthetic listening and runs with planted effects."""
