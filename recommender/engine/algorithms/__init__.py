"""Recommendation algorithms that share one interface, baselines included."""
