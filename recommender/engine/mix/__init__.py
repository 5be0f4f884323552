"""The hybrid model `mix`: its components, terms, weights, fitting and scoring."""
