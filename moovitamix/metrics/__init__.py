"""Prometheus metrics of runs, models and services."""
