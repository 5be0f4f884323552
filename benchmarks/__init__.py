"""`python -m benchmarks NAME`: measurements, never part of the tests."""
