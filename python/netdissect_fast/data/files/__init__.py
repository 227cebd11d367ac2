"""The files of data sets: tables, pictures, label maps and their values, read without trust and written.

Used by the formats and by the builder.
"""
