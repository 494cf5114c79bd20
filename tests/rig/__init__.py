"""The servers, libraries and inputs that tests and benchmarks use, without the tests."""
