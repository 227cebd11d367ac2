"""How a dissection is carried out: plans of layers, collecting, checkpoints, shards, ranks, estimates.

Joins network, data and scoring; used by dissection, experiments and commands.
"""
