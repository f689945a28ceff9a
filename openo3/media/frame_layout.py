"""Which shard of a frame store each media file is in: few shards, and few of them touched by a change.

    layout({"frames-91ab.parquet": ["a.mp4", "d.mp4"]}, wanted={"a.mp4", "c.mp4", "d.mp4"}, shards=8)
    -> {"frames-91ab.parquet": ["a.mp4", "d.mp4"], "frames-c40e.parquet": ["c.mp4"]}

A new store of N media is divided, in the order of their names, into shards of N / `shards` each. A media file
stays in its shard. Later additions go into new shards, so that only they are written, and DVC hashes, stores
and pushes nothing else. Once there would be more than twice `shards`, the smallest are joined until there is
room again; their rows are copied, not decoded. A store of 16 shards that doubles in steps of one percent
writes each added row 2.5 times in all.

The shard of a row therefore depends on the history of the store; the content of the store does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import ceil

Layout = dict[str, list[str]]
"""Shard -> its media, in order of their names."""


def layout(before: Mapping[str, Sequence[str]], wanted: Collection[str], shards: int) -> Layout:
    """The shards of `wanted` in a store that was laid out as `before`. Its own media leave a layout as it is.

    >>> both = layout({}, {"a", "b", "c"}, shards=2)
    >>> sorted(both.values()), layout(both, {"a", "b", "c"}, shards=2) == both
    ([['a', 'b'], ['c']], True)
    """
    size = max(1, ceil(len(wanted) / shards))
    kept = {name: [media for media in members if media in wanted] for name, members in before.items()}
    kept = {name: members for name, members in kept.items() if members}
    new = sorted(set(wanted).difference(*kept.values()))
    if len(kept) + ceil(len(new) / size) > 2 * shards:
        for name in sorted(kept, key=lambda name: len(kept[name])):
            if len(kept) + ceil(len(new) / size) <= 1.5 * shards:
                break
            new += kept.pop(name)
        new.sort()
    cut = [new[start : start + size] for start in range(0, len(new), size)]
    return dict(sorted({**kept, **{shard_name(members): members for members in cut}}.items()))


def shard_name(members: Iterable[str]) -> str:
    """The name of a shard that starts with these media."""
    return f"frames-{hashlib.sha256(chr(0).join(members).encode()).hexdigest()[:16]}.parquet"
