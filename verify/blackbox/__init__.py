"""Somebody else's optimizer, unchanged: how it is built and held, what short experiments find, how it is run."""
