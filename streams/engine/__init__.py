"""Faust, made to lose nothing: the only package that imports it."""
