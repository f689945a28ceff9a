"""Checking annotations: each row becomes a canonical record or a rejection with its reason.

table      one annotation file -> canonical lines, and blocks of facts about its rows
block      a block as a frame, a column for each fact; it learns of the media too
media      which files are there and can be opened, how long and how large they are
suites     the rules, as Great Expectations suites over a frame of facts
coverage   counts by file, source, task and reason
page       all of it as one HTML page
"""
