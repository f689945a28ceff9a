"""Publish a trained checkpoint as a model folder with a card and its results.

run       the parameters, metrics and data of a checkpoint
results   its numbers for the hub's `model-index` and `.eval_results`, and as tables
licences  the licences of the base model and the data
chart     the picture of the results
card      the model card, from `card.md.j2`
folder    the model folder
hub       uploading the folder
"""
