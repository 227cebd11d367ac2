"""The carrying out of a dissection: plans of layers, collectors, checkpoints, shards, ranks, estimates.

Combines network, data and scoring; used by dissection, experiments and commands.
"""
