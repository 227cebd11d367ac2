"""Building a data set in Broden's format from the sources that it is made of."""
