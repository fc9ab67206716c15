"""A long run under mixed load and chaos: ``python -m tests.soak``, or ``make soak``."""
