"""Claims of Gronich & Vardi 2602.16340: limits, and what the proof and its hypotheses say. Read ``limits.py``."""
