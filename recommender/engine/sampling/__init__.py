"""Draw lists from scored candidates, interleave two models, and encode candidate lists."""
