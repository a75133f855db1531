"""Data sets, one file each: a function of named options that returns inputs and labels; and the reading of data files.

They import the registry, nothing else of the project. Read ``synthetic.py`` first.
"""
