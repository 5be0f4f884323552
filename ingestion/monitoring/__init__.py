"""Health checks, anomaly detection in run metrics, and the watchdog that runs them."""
