"""Imports: their cost, and proofs of what a success promises."""
