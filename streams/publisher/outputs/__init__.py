"""The places that take messages."""
