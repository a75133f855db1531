"""What is kept of a run and handed on: the one schema of verdicts and evidence, its way to JSON, its store on disk.

``verdict.py`` (and ``claim_verdict.py`` for ``verify``) is the schema, from the worker to the page; ``encoding.py``
writes and reads it. Imports the models and the norms. Read ``verdict.py`` first.
"""
