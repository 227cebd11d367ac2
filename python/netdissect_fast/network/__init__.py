"""The network: its layers by name, activations out of a forward pass, loading it from files.

Knows nothing of images, labels or results; used by data (labels from a network), runs, experiments and commands.
"""
