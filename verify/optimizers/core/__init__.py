"""What every engine optimizer builds on: the contract and registry, log-scale arithmetic, moments, one rule a block.

Imports the models' blocks and the norms. Read ``base.py`` first, then ``logscale.py``.
"""
