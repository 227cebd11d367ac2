"""Inspects a data set: is it sound, what is in it, which images have a concept."""
