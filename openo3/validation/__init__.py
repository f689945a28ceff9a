"""Checking annotations: each row becomes a canonical record or a rejection with its reason.

table      one annotation file -> canonical lines, and a frame of facts about every row
media      which files are there and can be opened, how long and how large they are
suites     the rules, as Great Expectations suites over the frame of facts
coverage   counts by file, source, task and reason
page       all of it as one HTML page
"""
