"""An answer's evidence on its clip, in a browser: `player.js` and `player.css`, and pages that hold them.

    from openo3.player import clip, page
    data = {**answer.to_json(), "media": clip.embedded(path, media)}
    text = page.page(data)

The script needs nothing but the page: no library, no network. `assets` gives it to a page of one's own, which
calls `openo3Player(element, data)`; `player.js` says what `data` is.
"""
