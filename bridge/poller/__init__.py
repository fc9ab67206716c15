"""Clouds that are asked: their instances are listed, and what has changed is told."""
