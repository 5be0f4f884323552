"""One training run: read the data, fit, evaluate, cluster, store a version."""
