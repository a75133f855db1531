"""What every experiment of the laboratory is made of: short runs of a fresh optimizer, and what is said of them.

Imports the black-box adapter. Read ``session.py`` first.
"""
