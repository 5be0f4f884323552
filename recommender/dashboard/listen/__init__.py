"""The listener page: what a listener is recommended, why, and what they think of it."""
