"""Packets and frames as PyAV reads them: entries, orientation, containers, damage."""

from pathlib import Path

import pytest

from openo3.media.container import MediaError, cut_off
from openo3.media.probe import probe
from openo3.media.reader import Entry, opened
from tests.support.clips import clip, copied, ffmpeg, number

X264 = {"f": "mp4", "vcodec": "libx264"}
OPEN = {"g": 12, "bf": 8, "x264-params": "open-gop=1:b-adapt=0:scenecut=0"}
REFRESHED = "intra-refresh=1:keyint=24:scenecut=0"
X265 = {"f": "mp4", "vcodec": "libx265", "x265-params": "keyint=12:min-keyint=12:log-level=error"}

WITH_ENTRIES = {
    "h264.mp4": X264 | {"g": 12, "bf": 3},
    "all key frames.mp4": X264 | {"g": 1},
    "h264.mkv": {"f": "matroska", "vcodec": "libx264", "g": 12, "bf": 3},
    "fragments.mp4": X264 | {"bf": 2, "g": 15, "movflags": "frag_keyframe+empty_moov"},
    "hevc open groups.mp4": X265,
    "hevc open groups.mkv": X265 | {"f": "matroska"},
    "vp9.webm": {"f": "webm", "vcodec": "libvpx-vp9", "g": 12, "deadline": "realtime", "cpu-used": 8},
    "av1.mp4": {"f": "mp4", "vcodec": "libaom-av1", "g": 12, "cpu-used": 8, "crf": 20},
    "av1.mkv": {"f": "matroska", "vcodec": "libaom-av1", "g": 12, "cpu-used": 8, "crf": 20},
    "mpeg4.mp4": {"f": "mp4", "vcodec": "mpeg4", "g": 12, "bf": 2, "q": 3},
    "mpeg4.mkv": {"f": "matroska", "vcodec": "mpeg4", "g": 12, "bf": 2, "q": 3},
}


def shown(path: Path, entry=None) -> list[tuple[int, int]]:
    """`(number of the frame by its time, number in its pixels)` of the frames from an entry on."""
    with opened(path, 20.0) as video:
        return [
            (round(time_s * 30), number(video.picture(frame, video.size)))
            for time_s, frame in video.frames(entry)
        ]


class TestEntries:
    @pytest.mark.parametrize("name", WITH_ENTRIES)
    def test_frames_from_every_entry_on_are_those_decoded_from_the_start(self, tmp_path, name):
        path = clip(tmp_path / name, 48, options=WITH_ENTRIES[name])
        entries = probe(path).entries
        assert len(entries) >= 2
        for entry in entries:
            first = round(entry.time_s * 30)
            found = [both for both in shown(path, entry) if both[0] >= first]
            assert found == [(place, place) for place in range(first, 48)]

    def test_decoding_does_not_begin_before_the_entry(self, tmp_path):
        path = clip(tmp_path / "a.mp4", 48, options=WITH_ENTRIES["h264.mp4"])
        entry = probe(path).entries[-1]
        assert shown(path, entry)[0][0] == round(entry.time_s * 30) > 30

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("open groups.mp4", X264 | OPEN),
            ("intra refresh.mkv", {"f": "matroska", "vcodec": "libx264", "x264-params": REFRESHED}),
            ("h264.ts", {"f": "mpegts", "vcodec": "libx264", "g": 12}),
            ("a.avi", {"f": "avi", "vcodec": "mpeg4", "g": 12}),
        ],
    )
    def test_videos_without_a_clean_start_inside_have_none(self, tmp_path, name, options):
        assert probe(clip(tmp_path / name, 48, options=options)).entries == ()

    def test_an_entry_that_the_demuxer_does_not_find_gives_no_frame(self, tmp_path):
        path = clip(tmp_path / "a.mp4", 48, options=WITH_ENTRIES["h264.mp4"])
        first, *_, last = probe(path).entries
        assert shown(path, Entry(first.time_s, last.ticks)) == []


class TestOpening:
    @pytest.mark.parametrize(
        ("name", "text", "words"),
        [
            (
                "a.m3u8",
                "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n",
                "supported",
            ),
            ("a.mp4", "ffconcat version 1.0\nfile secret.ts\n", "supported"),
            ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n", "neither"),
        ],
    )
    def test_playlists_are_refused_by_ffmpeg_itself(self, tmp_path, name, text, words):
        """`probe` already refuses those that it knows by their first bytes."""
        clip(tmp_path / "secret.ts", options={"f": "mpegts", "vcodec": "libx264"})
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match=words) as caught, opened(tmp_path / name, 5.0):
            pass
        assert str(tmp_path) not in str(caught.value)

    def test_metadata_that_is_not_unicode_is_read(self, tmp_path):
        path = copied(clip(tmp_path / "a.mp4"), tmp_path / "b.mkv", after=("-metadata", "title=Schoen"))
        path.write_bytes(path.read_bytes().replace(b"Schoen", b"Sch\xf6\xffn"))
        assert len(probe(path).times_s) == 60

    def test_the_first_video_that_is_no_cover_is_read(self, tmp_path):
        small = clip(tmp_path / "a.mp4", 30)
        ffmpeg("-i", small, "-frames:v", "1", tmp_path / "cover.png")
        both = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
        ffmpeg("-i", tmp_path / "cover.png", "-i", small, *both, tmp_path / "b.mp4")
        assert len(probe(tmp_path / "b.mp4").times_s) == 30


def test_a_picture_turned_by_an_odd_angle_is_shown_as_it_is_stored(tmp_path):
    path = copied(clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", "-display_rotation", "30")
    assert (probe(path).size, probe(path).independent_gops) == ((64, 48), False)
    assert shown(path) == [(place, place) for place in range(60)]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4"])
def test_cut_off_files_say_how_much_is_missing(tmp_path, name):
    options = {"a.mkv": {"f": "matroska", "vcodec": "libx264"}, "a.mp4": X264}
    vp8 = {"f": "webm", "vcodec": "libvpx", "b:v": "300k"}
    path = clip(tmp_path / name, 120, options=options.get(name, vp8))
    assert cut_off(path) == ""
    path.write_bytes(path.read_bytes()[:-1234])
    assert cut_off(path) == "cut off: the last 1,234 bytes are missing; download it again"


def test_a_recording_of_unknown_length_is_never_cut_off(tmp_path):
    live = {"f": "webm", "vcodec": "libvpx", "b:v": "300k", "live": 1}
    path = clip(tmp_path / "a.webm", options=live)
    path.write_bytes(path.read_bytes()[:-700])
    assert cut_off(path) == ""


def test_damage_is_said_with_its_place_and_without_the_path(tmp_path):
    path = clip(tmp_path / "a.ts", 60, options={"f": "mpegts", "vcodec": "libx264", "g": 60})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"damaged: a frame near \d\.\d{3} s ") as caught:
        shown(path)
    assert "a.ts" not in str(caught.value)
