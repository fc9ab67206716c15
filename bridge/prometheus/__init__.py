"""A Prometheus that is asked for samples of a cloud's instances and hosts."""
