"""A trained checkpoint as a model folder that others can use and check.

run       what is known of a checkpoint: its parameters, metrics and data
results   its numbers as the hub's `model-index` and `.eval_results` have them, and as tables
licences  what it was made from, under which licences
chart     the picture of the results
card      the model card, from `card.md.j2`
folder    the folder as a whole
hub       the same on the hub
"""
