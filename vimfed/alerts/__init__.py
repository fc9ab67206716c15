"""Formats in which monitors outside tell their alerts, each as alert reports of our own."""
