"""The catalogue: for every source and every benchmark where its files are published and where they go here.

table           reads it, strictly
sources.yaml    the catalogue itself, which a file of the user's own may add to
"""
