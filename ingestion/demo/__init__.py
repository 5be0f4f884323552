"""PURE: a demo source with the API of the real one and listeners whose tastes are known."""
