"""The claims of the literature as data. Imports the judging's bounds. Read ``catalogue.py``."""
