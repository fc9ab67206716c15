"""A real ceilometer for the tests."""
