"""The core compiled: whether all of it is, and its unit tests on that form."""
