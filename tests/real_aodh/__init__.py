"""A real aodh for the tests."""
