"""The servers, libraries and inputs that both tests and benchmarks use; it imports nothing else of the tests."""
