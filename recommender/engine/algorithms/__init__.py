"""The other recommendation algorithms: the baselines and `classic`."""
