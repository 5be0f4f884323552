"""Trains and evaluates one version from the tables."""
