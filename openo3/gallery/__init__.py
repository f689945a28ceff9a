"""Every prediction of every checkpoint as a folder of static files, to be opened from disk or served.

    from openo3.gallery.build import write
    print(write(Path("."), Path("reports/gallery")))

    index.html, gallery.js, browse.js, player.js, their CSS       the page; it loads the rest as it needs it
    data/index.js, data/BENCHMARK/list-N.js, page-N.js            records and answers, files of bounded size
    media/DIGEST.mp4                                              clips: hard links, or copies for browsers

A browser does not let a page that was opened from disk fetch files, but lets it load scripts. So each
data file is one call of the page's function with a JSON value. `predictions` reads what `evaluate` wrote,
`entries` turns it into those values, `clips` provides the media, `build` writes the folder. `paged`,
`browse.js` and `clips` serve `openo3.review` too.
"""
