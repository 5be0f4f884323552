"""Simulates weeks of ingestion, listening and retraining against the demo source."""
