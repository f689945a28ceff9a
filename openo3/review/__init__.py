"""Looking at training records, with the picture of what is wrong with rejected ones; and correcting them.

    with opened(Path("local")) as collection:
        print(write(collection, Path("reports/look")))

`collection` reads the records and says with `rules` why some are rejected; `pictures` shows that. `entries`
turns a record into what the page shows, `build` writes the page as a folder or as one file. With a server
(`app`), a person corrects (`edits`) and decides; `decisions` writes that to a new STGR file, the original
stays.
"""
