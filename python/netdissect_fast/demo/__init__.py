"""The demo: a small trained network on drawn scenes.

Uses the package as a user would; used by its command alone.
"""
