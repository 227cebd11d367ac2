"""Downloads a data set in Broden's format: fetched, checked and unpacked into a new folder.

Used by its command and by users.
"""
