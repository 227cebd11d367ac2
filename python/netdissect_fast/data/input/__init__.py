"""What the network is given: pictures preprocessed whole, in batches, labels packed beside them.

Used by runs and experiments.
"""
