"""Statistics of experiments."""
