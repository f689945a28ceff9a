"""Getting annotations and exactly the media they name into `data/raw`.

A kind of source (`local`, ...) makes a `Plan` of files; `sync` brings a folder to what the plan says.
"""
