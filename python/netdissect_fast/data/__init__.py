"""Data sets of images with dense concept labels: reading, preparing, building, downloading and checking them.

Importing this loads neither torch nor Pillow; used by runs, pages, experiments and commands.
"""
