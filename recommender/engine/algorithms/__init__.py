"""The baselines and `classic`."""
