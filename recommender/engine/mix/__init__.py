"""`mix`, the default model."""
