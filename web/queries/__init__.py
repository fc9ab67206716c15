"""Questions that all workers answer together."""
