"""Finds what is wrong: health checks, anomalies in run metrics, and the watchdog that runs them."""
