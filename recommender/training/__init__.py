"""Trains and evaluates model versions."""
