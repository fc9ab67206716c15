"""The same core in four kinds of stream job, for benchmarks/workers.py."""
