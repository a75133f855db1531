"""What is kept of a run and handed on: verdicts, evidence, their store on disk, how norms are named among them.

Imports the models and the norms. Read ``verdict.py`` first.
"""
