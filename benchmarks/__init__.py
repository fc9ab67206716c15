"""Benchmarks of parts and of the whole."""
