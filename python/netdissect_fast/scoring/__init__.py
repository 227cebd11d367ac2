"""From activations to labels of units: peaks, thresholds, counts, IoU, unit labels, detectors.

Arrays in, arrays out, without files of runs or networks; used by results and everything above it.
"""
