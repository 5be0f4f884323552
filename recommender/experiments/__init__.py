"""Online experiments between model versions."""
