"""What is kept of a run and handed on: the one schema of verdicts and evidence, its way to JSON, its store on disk.

``problem_verdict.py`` and, over all problems, ``verdict.py`` (``claim_verdict.py`` for ``verify``) are the schema, from
the worker to the page; ``encoding.py`` writes and reads it. Imports the models and the norms. Read these two first.
"""
