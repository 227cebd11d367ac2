"""The data sets, one per format: Broden's, folders of masks, COCO's, torch's, a network's labels, drawn ones.

Each implements the protocol in ``data/dataset.py``; used by opening and by users.
"""
