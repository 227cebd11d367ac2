"""The network: its layers by name, its activations during a forward pass, loading it from files.

Independent of images, labels and results; used by data (labels from a network), runs, experiments and commands.
"""
