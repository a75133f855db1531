"""Progress of long work, shown as it suits the stream, and gathered from other processes.

Imports nothing of the project. Read ``report.py`` first.
"""
