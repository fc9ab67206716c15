"""The ways to log in, each a module; ``kinds.py`` lists them."""
