"""What theory says of learning-rate schedules and of the moments' lag, in closed form or symbolically.

Imports nothing of the project. Read ``admissibility.py`` first.
"""
