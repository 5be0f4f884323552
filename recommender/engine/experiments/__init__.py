"""Statistics of experiments: interleaving credit, sequential tests, decision rules."""
