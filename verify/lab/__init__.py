"""The laboratory: short experiments on an optimizer, before it is trained.

``harness`` builds it and feeds it prescribed gradients, ``probe`` finds how it behaves, ``norm`` which norm its steps
follow, ``faults`` what is wrong with them, ``twin`` which of the engine's recursions it equals; ``subject.py`` keeps
what was found. Imports the black-box adapter, the optimizers and the results. Read ``examine.py`` first.
"""
