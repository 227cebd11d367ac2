"""Builds a data set in Broden's format from the sources that Broden is made of."""
