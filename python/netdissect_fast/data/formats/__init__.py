"""The data sets, one format each: Broden's, folders of masks, COCO's, torch's, a network's labels, drawn ones.

Each offers what ``data/dataset.py`` asks for; used by opening and by users.
"""
