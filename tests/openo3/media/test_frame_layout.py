"""Shards are bounded in number and size, and additions leave existing shards unchanged."""

from hypothesis import given
from hypothesis import strategies as st

from openo3.media.frame_layout import layout

MEDIA = st.sets(st.integers(0, 400).map("{:03d}".format), max_size=120)


def placed(found: dict[str, list[str]]) -> list[str]:
    return sorted(media for members in found.values() for media in members)


@given(st.lists(MEDIA, max_size=8), st.integers(1, 9))
def test_every_media_is_in_exactly_one_shard_after_additions_and_removals(steps, shards):
    found = {}
    for wanted in steps:
        found = layout(found, wanted, shards)
        assert placed(found) == sorted(wanted)
        assert len(found) <= 2 * shards
        assert all(members and members == sorted(members) for members in found.values())
        assert layout(found, wanted, shards) == found


@given(st.lists(st.tuples(MEDIA, st.integers(1, 9)), max_size=8))
def test_the_number_of_shards_may_change(steps):
    found = {}
    for wanted, shards in steps:
        found = layout(found, wanted, shards)
        assert placed(found) == sorted(wanted)
        assert len(found) <= 2 * shards


def test_a_hundred_additions_of_one_percent_copy_few_rows():
    shards, names = 16, [f"{number:06d}" for number in range(20_000)]
    found, written = layout({}, set(names[:10_000]), shards), 0
    for count in range(10_100, 20_001, 100):
        before, found = found, layout(found, set(names[:count]), shards)
        assert len(found) <= 2 * shards
        written += sum(len(members) for name, members in found.items() if name not in before)
    assert written < 3 * 10_000, "each added row is written less than three times"
