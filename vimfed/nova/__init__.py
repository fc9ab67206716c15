"""nova's words. Pure."""
