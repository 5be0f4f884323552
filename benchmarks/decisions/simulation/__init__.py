"""Simulated listening and imports with planted effects."""
