"""Clustering, scoring, sampling and evaluation with numpy, without Django."""
