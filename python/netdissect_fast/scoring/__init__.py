"""From activations to labels of units: peaks, thresholds, counts, IoU, unit labels, detectors.

Arrays in, arrays out, with no run folders and no networks; used by results and everything above it.
"""
