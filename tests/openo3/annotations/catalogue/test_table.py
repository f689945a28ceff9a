import re

import pytest
import yaml

from openo3.annotations import sources
from openo3.annotations.catalogue import table
from openo3.annotations.rejections import RowError
from openo3.benchmarks.registry import BENCHMARKS
from openo3.configuration import ConfigurationError


def write(tmp_path, text: str):
    path = tmp_path / "mine.yaml"
    path.write_text(f"catalogue:\n{text}")
    return path


def test_every_published_source_and_benchmark_has_an_entry():
    shipped = table.shipped()
    for name in ("STR_coin", "STR_plm_rdcap", "TVG_tacos", "TreeVGR", "timerft", "gqa", "videor1_mcq"):
        assert shipped.sources[sources.get(name).name]
    assert {"sft", "rl", *BENCHMARKS} == shipped.annotations.keys()
    assert {name for name, entry in shipped.sources.items() if entry.benchmark} == set(BENCHMARKS)


def test_an_entry_without_a_place_has_a_note():
    for name, entry in table.shipped().sources.items():
        if name not in ("shapes", "local"):
            assert entry.media or entry.note, name
    for entry in table.shipped().annotations.values():
        assert entry.place or entry.note
        assert not entry.source or entry.source in table.shipped().sources


def test_a_pinned_revision_is_a_commit():
    places = [place for entry in table.shipped().sources.values() for place in entry.media]
    places += [entry.place for entry in table.shipped().annotations.values() if entry.place]
    for place in places:
        assert place.revision is None or re.fullmatch("[0-9a-f]{40}", place.revision)


def test_a_custom_entry_comes_first_and_replaces_the_shipped_one(tmp_path):
    path = write(
        tmp_path,
        """
  sources:
    TVG_*: {videos: mine/tvg, media: [{folder: ~/tvg}]}
    my_*: {videos: mine/videos, key_frames: mine/kfs, image_boxes: normalised}
""",
    )
    own = table.read(path)
    both = table.shipped().with_own(own)
    assert list(both.sources)[:2] == ["TVG_*", "my_*"]
    assert both.sources["TVG_*"].media[0].folder == "~/tvg"
    assert len(both.sources) == len(table.shipped().sources) + 1
    with sources.with_own(own.sources):
        reference = sources.reference(sources.get("my_clips"), "videos", "a.mp4", "video_path")
        assert reference.media == "mine/videos/a.mp4"
        assert sources.get("TVG_tacos").videos == "mine/tvg"
    assert sources.get("TVG_tacos").videos == "videos/tvg_r1"
    with pytest.raises(RowError):
        sources.get("my_clips")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  sources: {x: {vidoes: a}}", "catalogue.sources.x.vidoes: unknown key"),
        ("  sauces: {}", "catalogue.sauces: unknown key"),
        ("  sources: {x: {name: y, videos: a}}", "catalogue.sources.x.name: unknown key"),
        ("  sources: {x: {size_gb: '3'}}", "catalogue.sources.x.size_gb: input should be a valid number"),
        ("  sources: {x: {media: [{hub: a/b, packing: rar}]}}", "media.0.packing: input should be 'files'"),
        ("  sources: {x: {videos: ../up}}", "catalogue.sources.x.videos: '../up' climbs out with .."),
        ("  sources: {x: {videos: /abs}}", "catalogue.sources.x.videos: '/abs' absolute"),
        ("  sources: {x: {images: a//b}}", "catalogue.sources.x.images: 'a//b' is written a/b"),
        ("  sources: {x: {media: [{}]}}", "media.0: needs one of hub, url, folder and site, has none"),
        ("  sources: {x: {media: [{hub: a/b, url: 'http://h'}]}}", "media.0: needs one of .*, has hub, url"),
        ("  sources: {x: {media: [{folder: d, revision: main}]}}", "only a hub dataset has revisions"),
        (
            "  sources: {x: {media: [{hub: a/b, packing: zip}]}}",
            "media.0.path: missing key, the name of the archive",
        ),
        ("  sources: {x: {media: [{hub: a/b, path: ../c}]}}", "media.0.path: '../c' climbs out"),
        ("  sources: {x: {media: [{site: 'http://v/'}]}}", "media.0.site: needs {name} in the address"),
        ("  sources: {x: {media: [{url: h/v}]}}", "media.0.url: needs an address that begins with http"),
        ("  sources: {x: {media: [{url: 'http://[::1/v'}]}}", "media.0.url: Invalid IPv6 URL"),
        ("  sources: {x: {media: [{url: 'https://me:pw@h/v'}]}}", "media.0.url: holds a user or password"),
        ("  sources: {x: {media: [{url: 'https://h/v?token=1'}]}}", "media.0.url: ends before any"),
        ("  annotations: {x: {}}", "catalogue.annotations.x.place: missing key"),
    ],
)
def test_an_invalid_table_gives_one_line_with_file_and_key(tmp_path, text, message):
    with pytest.raises(ConfigurationError, match=message.replace("{", r"\{")) as error:
        table.read(write(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../../../../outside/pwn", "..", "a/b", "/tmp/pwn"])
def test_an_annotation_name_must_not_be_a_path(tmp_path, name):
    entry = {"place": {"folder": "x", "path": "a.json"}, "source": "local"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"catalogue": {"annotations": {name: entry}}}))
    with pytest.raises(ConfigurationError, match=r"own\.yaml: catalogue\.annotations: "):
        table.read(tmp_path / "own.yaml")
