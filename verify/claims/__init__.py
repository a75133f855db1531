"""The claims of the literature as data, a file a paper or a topic, and what measures them. Read ``record.py``."""
