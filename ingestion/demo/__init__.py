"""A demo source with the API of the real one, and synthetic listeners with known tastes; without Django."""
