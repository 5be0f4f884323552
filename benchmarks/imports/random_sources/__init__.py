"""Random sources that mislead, and a plain reference for what a run may make of them."""
