"""Checking annotations: each row becomes a canonical record or a rejection with its reason.

table      one annotation file -> canonical lines, and blocks of facts about its rows
block      a block as a frame with a column for each fact, including facts about the media
media      which files exist and can be opened, how long and how large they are
suites     the rules, as Great Expectations suites over a frame of facts
coverage   counts by file, source, task and reason
page       all of it as one HTML page
pictures   frames of rejected and of accepted rows for that page, with their boxes

frames_page    what passes all this and still gives no frames, as a page of the stage `sample_frames`
layout         what both pages share
"""
