"""Claims that linear models decide: norms by exponent, rates, eps, decay, batches. Read ``approach.py``."""
