"""The report: a static site of a result, its pictures and pages.

Reads results and data and never a network; used by commands, experiments and the demo.
"""
