"""The network's input: whole pictures preprocessed in batches, with labels packed at the same time.

Used by runs and experiments.
"""
