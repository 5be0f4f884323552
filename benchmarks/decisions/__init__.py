"""Decisions: error rates of experiments, drift checks and anomaly bands, by simulation."""
