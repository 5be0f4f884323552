"""Online experiments between model versions, from proposal to decision."""
