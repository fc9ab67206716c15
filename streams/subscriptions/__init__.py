"""Which events an output wants, and since when."""
