"""Alerts, health checks and drift."""
