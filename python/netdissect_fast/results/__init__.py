"""The results of a dissection: in memory, as tables, on disk, and from arrays without a network.

Needs no network and no torch; used by runs, pages, experiments and commands.
"""
