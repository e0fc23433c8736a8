"""Data sets of images and texts: finding, reading, dividing and auditing them."""
