"""Every decoded frame is the one shown at its time, in every kind of file."""

from bisect import bisect_right
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.media import decode
from openo3.media.decode import Key, SamplingConfig, sample, sample_times, shown_at
from openo3.media.ffmpeg import encode
from openo3.media.image import open_image
from openo3.media.probe import MediaError, decoding_limit_s, probe
from tests.support.clips import clip, copied, ffmpeg, number, numbered, shown

POLICY = SamplingConfig(fps=4, min_frames=4, max_frames=8, max_pixels=4096, multiple=16)
X264 = {"f": "mp4", "vcodec": "libx264", "crf": 18}
SLOWING = {"vf": "setpts='(N+N*N/20)/30/TB'", "fps_mode": "passthrough", "enc_time_base": "1/90000"}

# container and codec; the first frame's number is 0
PLAIN = {
    "plain.mp4": {},
    "B-frames.mp4": X264 | {"bf": 3, "x264-params": "b-adapt=0:b-pyramid=normal"},
    "no B-frames, baseline.mp4": X264 | {"bf": 0, "profile:v": "baseline"},
    "one long group.mp4": X264 | {"g": 1000, "bf": 2},
    "all key frames.mp4": X264 | {"g": 1},
    "open groups.mp4": X264 | {"g": 12, "bf": 8, "x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    "open groups without B.mkv": X264 | {"g": 12, "bf": 0, "x264-params": "open-gop=1", "f": "matroska"},
    "intra refresh.mkv": X264 | {"x264-params": "intra-refresh=1:keyint=24", "f": "matroska"},
    "interlaced.mp4": X264 | {"flags": "+ildct+ilme"},
    "no edit list.mp4": X264 | {"bf": 2, "use_editlist": 0},
    "index first.mp4": X264 | {"movflags": "faststart"},
    "fragments.mp4": X264 | {"bf": 2, "g": 15, "movflags": "frag_keyframe+empty_moov"},
    "variable rate.mp4": X264 | SLOWING | {"bf": 2},
    "variable rate.mkv": X264 | SLOWING | {"bf": 2, "f": "matroska"},
    "hevc.mp4": {"f": "mp4", "vcodec": "libx265", "x265-params": "keyint=12:open-gop=0:log-level=error"},
    "hevc open groups.mp4": {"f": "mp4", "vcodec": "libx265", "x265-params": "keyint=12:log-level=error"},
    "4:4:4.mp4": X264 | {"pix_fmt": "yuv444p"},
    "10 bits.mp4": X264 | {"pix_fmt": "yuv420p10le"},
    "odd size.mp4": X264 | {"pix_fmt": "yuv444p", "vf": "crop=63:47:0:0"},
    "oblong pixels.mp4": X264 | {"vf": "setsar=2/1"},
    "h264.mkv": X264 | {"f": "matroska", "bf": 2},
    "h264.ts": X264 | {"f": "mpegts", "bf": 2, "g": 15},
    "vp9.webm": {"f": "webm", "vcodec": "libvpx-vp9", "b:v": "300k", "deadline": "realtime", "cpu-used": 8},
    "vp8 hidden frames.webm": {
        "f": "webm",
        "vcodec": "libvpx",
        "auto-alt-ref": 1,
        "lag-in-frames": 16,
        "b:v": "300k",
    },
    "av1.mp4": {"f": "mp4", "vcodec": "libaom-av1", "cpu-used": 8, "crf": 20},
    "mpeg2.mpg": {"f": "mpeg", "vcodec": "mpeg2video", "bf": 2, "q": 3},
    "a.flv": {"f": "flv", "vcodec": "flv1", "q": 3},
    "a.gif": {"f": "gif", "pix_fmt": "rgb8"},
}


def check(path, first=0, keys=(0.0, 0.5, 0.52, 99.0), times=()):
    """Check that the numbers in the pixels match the times, and the times match those of ffmpeg's decoder.

    `times` are the right ones where ffmpeg's are not.
    """
    times = times or shown(path)
    found = sample(path, [Key(time_s) for time_s in keys], POLICY)
    for shot in found.shots:
        place = bisect_right(times, shot.time_s + 1e-4) - 1
        assert times[place] == pytest.approx(shot.time_s, abs=1e-4)
        assert number(shot.image) == first + place
        assert place == max(0, bisect_right(times, shot.asked_s + 1e-3) - 1), "what is on the screen then"
    even = [shot.asked_s for shot in found.shots if not shot.key]
    assert even[0] == pytest.approx(times[0], abs=1e-4)
    assert even[-1] == pytest.approx(times[-1], abs=1e-4)
    assert np.allclose(np.diff(even), (even[-1] - even[0]) / (len(even) - 1), atol=1e-5)
    assert len(even) == len(sample_times(found.duration_s - times[0], 4, 4, 8))
    assert sorted(shot.asked_s for shot in found.shots if shot.key) == sorted(keys)
    assert [shot.time_s for shot in found.shots] == sorted(shot.time_s for shot in found.shots)
    assert {shot.image.size for shot in found.shots} == {found.size}
    return found


@pytest.mark.parametrize("name", PLAIN)
def test_decoded_frames_are_those_shown_at_their_times(tmp_path, name):
    path = clip(tmp_path / name, options=PLAIN[name])
    check(path)


@pytest.mark.parametrize("fps", [12, 15, 24, 29.97, 60])
def test_frame_rates(tmp_path, fps):
    found = check(clip(tmp_path / "a.mp4", fps=fps))
    assert found.duration_s == pytest.approx(60 / fps, rel=1e-3)


def test_decord_decodes_what_it_can_seek_in(tmp_path, monkeypatch):
    """Without this test, the fast path could be lost unnoticed."""
    monkeypatch.setattr(decode, "_by_pyav", None)
    for name in (
        "plain.mp4",
        "B-frames.mp4",
        "variable rate.mp4",
        "h264.mkv",
        "vp9.webm",
        "fragments.mp4",
        "hevc.mp4",
    ):
        check(clip(tmp_path / name, options=PLAIN[name]))


@pytest.mark.parametrize("name", ["plain.mp4", "B-frames.mp4", "variable rate.mkv", "vp9.webm", "hevc.mp4"])
def test_the_reference_decoder_is_right_where_the_fast_path_is_used_too(tmp_path, monkeypatch, name):
    monkeypatch.setattr(decode, "_by_decord", lambda *arguments: None)
    check(clip(tmp_path / name, options=PLAIN[name]))


@pytest.mark.parametrize("seed", range(12))
def test_random_encodings(tmp_path, seed):
    """For many encoder settings, decord is used only where it is correct."""
    random = np.random.default_rng(seed)
    keyint, b_frames = random.choice([1, 5, 12, 48, 250]), random.choice([0, 1, 3, 8])
    settings = [f"keyint={keyint}", f"bframes={b_frames}", f"b-adapt={random.integers(3)}"]
    settings += [f"open-gop={random.integers(2)}", f"ref={random.choice([1, 3, 6])}"]
    settings += [f"scenecut={random.choice([0, 40])}", f"slices={random.choice([1, 3])}"]
    settings += [f"intra-refresh={random.integers(4) // 3}", f"weightp={random.choice([0, 2])}"]
    container = str(random.choice(["mp4", "matroska"]))
    options = {"f": container, "vcodec": "libx264", "x264-params": ":".join(settings)}
    path = clip(
        tmp_path / "a", int(random.choice([5, 30, 90])), float(random.choice([10, 25, 30])), 0, options
    )
    check(path)


class TestTimeLine:
    """Times are a player's: from the start of the earliest stream of the file."""

    @pytest.mark.parametrize("codec", [{"vcodec": "mpeg4", "q": 3}, {"vcodec": "libx264", "b-pyramid": 1}])
    @pytest.mark.parametrize("b_frames", [0, 1, 2])
    def test_avi_with_reordered_frames_starts_at_zero(self, tmp_path, codec, b_frames):
        path = clip(tmp_path / "a.avi", options={"f": "avi", "bf": b_frames} | codec)
        assert check(path, times=[i / 30 for i in range(60)]).duration_s == pytest.approx(2.0)

    @pytest.mark.parametrize(
        ("name", "codec"), [("a.ts", "mpeg2video"), ("b.ts", "h264"), ("a.mpg", "mpeg2video")]
    )
    def test_transport_and_program_streams_count_from_the_earliest_stream(self, tmp_path, name, codec):
        video = clip(tmp_path / "a.mp4")
        sound = ("-f", "lavfi", "-i", "sine=d=3", "-itsoffset", "0.7", "-i", video, "-map", "1", "-map", "0")
        options = ("-fps_mode", "passthrough", "-bf", "2", "-q:v", "3", "-c:a", "mp2")
        ffmpeg(*sound, "-c:v", codec, *options, tmp_path / name)
        start_s = 0.7 + 481 / 44100  # the number of samples that the encoder puts before the sound
        found = check(tmp_path / name, times=[start_s + i / 30 for i in range(60)])
        assert found.shots[0].time_s == pytest.approx(start_s, abs=1e-4)
        assert found.duration_s == pytest.approx(start_s + 2, abs=1e-4)

    def test_ogg_counts_from_the_earliest_stream(self, tmp_path):
        video = clip(tmp_path / "a.mp4")
        sound = ("-f", "lavfi", "-i", "sine=d=3", "-itsoffset", "0.7", "-i", video, "-map", "1", "-map", "0")
        ffmpeg(*sound, "-fps_mode", "passthrough", "-c:v", "libtheora", "-q:v", "9", tmp_path / "a.ogv")
        check(tmp_path / "a.ogv", times=[0.7 + i / 30 for i in range(60)])

    def test_frames_before_zero_are_not_shown(self, tmp_path):
        """A stream cut at an open group starts with frames that refer to what was cut away."""
        whole = clip(tmp_path / "a.mp4", options=PLAIN["open groups.mp4"])
        headers = ("-bsf:v", "h264_mp4toannexb,dump_extra=freq=all")
        cut = copied(whole, tmp_path / "b.ts", "-ss", "0.7", after=headers)
        assert probe(cut).times_s[0] == 0
        shots = sample(cut, [], POLICY).shots
        assert [number(shot.image) for shot in shots] == [12 + round(shot.time_s * 30) for shot in shots]

    def test_trimmed_video_has_the_times_of_its_decoded_frames(self, tmp_path):
        """The demuxer moves the times of packets that an edit list trims."""
        whole = clip(tmp_path / "a.mp4", options=X264 | {"bf": 3, "g": 60})
        cut = copied(whole, tmp_path / "b.mov", "-ss", "0.5", "-t", "0.3")
        assert probe(cut).times_s == (), "left to the decoder"
        found = sample(cut, [Key(0.1)], POLICY)
        assert {shot.time_s for shot in found.shots} <= {round(time_s, 6) for time_s in shown(cut)}
        assert [number(shot.image) for shot in found.shots] == [
            15 + round(shot.time_s * 30) for shot in found.shots
        ]

    def test_video_that_starts_after_its_sound(self, tmp_path):
        video = clip(tmp_path / "a.mp4")
        sound = ("-f", "lavfi", "-i", "sine=d=3", "-itsoffset", "0.7", "-i", video, "-map", "1", "-map", "0")
        ffmpeg(*sound, "-c:v", "copy", "-c:a", "aac", tmp_path / "b.mp4")
        found = check(tmp_path / "b.mp4")
        assert found.shots[0].time_s == pytest.approx(0.7)
        assert found.duration_s == pytest.approx(2.7)

    def test_longer_sound_does_not_lengthen_the_video(self, tmp_path):
        video = clip(tmp_path / "a.mp4")
        sound = ("-f", "lavfi", "-i", "sine=d=9", "-i", video, "-map", "1", "-map", "0")
        ffmpeg(*sound, "-c:v", "copy", "-c:a", "aac", tmp_path / "b.mp4")
        assert check(tmp_path / "b.mp4").duration_s == pytest.approx(2.0)

    @pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
    def test_first_time_not_zero(self, tmp_path, name):
        late = copied(clip(tmp_path / "a.mp4"), tmp_path / name, after=("-output_ts_offset", "5"))
        assert check(late).shots[0].time_s == 0

    def test_cut_without_reencoding_keeps_hidden_frames(self, tmp_path):
        """`ffmpeg -ss -c copy` keeps the packets from the key frame on; an edit list hides the first."""
        cut = copied(clip(tmp_path / "a.mp4", options=X264 | {"bf": 2}), tmp_path / "b.mp4", "-ss", "0.5")
        found = check(cut, first=15)
        assert found.shots[0].time_s == 0
        assert found.duration_s == pytest.approx(1.5)

    def test_cut_in_an_open_group(self, tmp_path):
        whole = clip(tmp_path / "a.mp4", options=PLAIN["open groups.mp4"])
        assert number(check(copied(whole, tmp_path / "b.mp4", "-ss", "0.7"), first=21).shots[0].image) == 21

    def test_two_frames_at_one_time(self, tmp_path):
        """Their order is undefined; frames at other times must not shift."""
        doubled = X264 | {"f": "matroska", "bf": 0, "g": 12, "x264-params": "open-gop=1"}
        doubled |= {"vf": "setpts='floor(N/2)*2/30/TB'", "fps_mode": "passthrough"}
        path = clip(tmp_path / "a.mkv", options=doubled)
        assert len(shown(path)) == 60
        assert len(set(shown(path))) == 30
        for shot in sample(path, [Key(0.5)], POLICY).shots:
            assert number(shot.image) // 2 == round(shot.time_s * 15)

    def test_browser_recording(self, tmp_path):
        """No length in the header, two frames in one millisecond, a stray byte at the end."""
        options = {"f": "webm", "vcodec": "libvpx", "b:v": "300k", "live": 1, "fps_mode": "passthrough"}
        options |= {"vf": "setpts='floor((N+1)/2)*2/30/TB'", "auto-alt-ref": 0}
        path = clip(tmp_path / "a.webm", options=options)
        path.write_bytes(path.read_bytes() + b"\x1a")
        assert "Duration: N/A" in ffmpeg("-i", path, "-c", "copy", "-f", "null", "-")
        assert probe(path).duration_s == pytest.approx(2.0, abs=0.07)
        for shot in sample(path, [Key(0.5)], POLICY).shots:
            assert (number(shot.image) + 1) // 2 == round(shot.time_s * 15)

    def test_jump_and_change_of_size_midway(self, tmp_path):
        first = clip(tmp_path / "a.ts", options=PLAIN["h264.ts"])
        encode(tmp_path / "b.ts", numbered(60, 60, (128, 96)), 30, (128, 96), PLAIN["h264.ts"])
        copied(tmp_path / "b.ts", tmp_path / "c.ts", after=("-output_ts_offset", "100"))
        (tmp_path / "d.ts").write_bytes(first.read_bytes() + (tmp_path / "c.ts").read_bytes())
        assert check(tmp_path / "d.ts").size == (64, 48)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_video_has_fewer_frames_than_requested(tmp_path, count):
    found = sample(clip(tmp_path / "a.mp4", count), [], POLICY)
    assert [number(shot.image) for shot in found.shots] == list(range(count))


def test_file_names_with_special_characters_are_decoded(tmp_path):
    for name in ("4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4", "-i é @ x.mp4", "%03d.mp4", "concat:a|b.mp4"):
        check(clip(tmp_path / name, options=PLAIN["plain.mp4"]))
    check(clip(tmp_path / "pipe:0.ts", options=PLAIN["h264.ts"]))


@pytest.mark.parametrize(
    ("option", "turn"),
    [
        (("-display_rotation", "90"), lambda pixels: np.rot90(pixels, 1)),
        (("-display_rotation", "180"), lambda pixels: np.rot90(pixels, 2)),
        (("-display_rotation", "270"), lambda pixels: np.rot90(pixels, 3)),
        (("-display_hflip",), lambda pixels: pixels[:, ::-1]),
        (("-display_vflip",), lambda pixels: pixels[::-1]),
    ],
)
def test_display_matrix_is_applied(tmp_path, option, turn):
    upright = clip(tmp_path / "a.mp4")
    turned = sample(copied(upright, tmp_path / "b.mp4", *option), [Key(0.5)], POLICY)
    for plain, shot in zip(sample(upright, [Key(0.5)], POLICY).shots, turned.shots, strict=True):
        expected = turn(np.asarray(plain.image, dtype=int))
        assert shot.image.size == expected.shape[1::-1] == turned.size
        assert np.abs(expected - np.asarray(shot.image)).mean() < 6


class TestKeyFrames:
    def test_shipped_images_are_taken_at_their_annotated_time(self, tmp_path):
        from PIL import Image

        path = clip(tmp_path / "a.mp4")
        Image.fromarray(next(numbered(1, 200, (128, 96)))).save(tmp_path / "k.jpg", quality=95)
        found = sample(path, [Key(0.51, tmp_path / "k.jpg"), Key(1.0)], POLICY)
        keys = [shot for shot in found.shots if shot.key]
        assert [(shot.time_s, number(shot.image), shot.image.size) for shot in keys] == [
            (0.51, 200, found.size),
            (1.0, 30, found.size),
        ]

    @pytest.mark.parametrize(("content", "reason"), [(None, "missing"), (b"no picture", "unreadable")])
    def test_a_broken_key_image_raises(self, tmp_path, content, reason):
        path = clip(tmp_path / "a.mp4")
        if content:
            (tmp_path / "k.jpg").write_bytes(content)
        with pytest.raises(MediaError) as caught:
            sample(path, [Key(0.5, tmp_path / "k.jpg")], POLICY)
        assert caught.value.reason == reason
        assert "k.jpg" in caught.value.detail


def test_an_image_is_one_frame(tmp_path):
    from PIL import Image

    Image.new("RGB", (100, 60)).save(tmp_path / "a.png")
    found = sample(tmp_path / "a.png", [], POLICY)
    assert (found.size, found.duration_s, len(found.shots)) == ((80, 48), None, 1)
    assert found.shots[0].image.tobytes() == open_image(tmp_path / "a.png", (80, 48)).tobytes()


def damaged(path, share=(0.0, 1.0), flips=60, seed=0):
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(int(len(data) * share[0]), int(len(data) * share[1]), flips):
        data[place] ^= 1 << random.integers(8)
    path.write_bytes(data)
    return path


class TestDamage:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("flips", [1, 3, 30])
    def test_flipped_bits_give_right_frames_or_a_reason(self, tmp_path, seed, flips):
        path = clip(tmp_path / "a.mp4", 120, options=X264 | {"movflags": "faststart", "g": 30})
        damaged(path, (0.25, 1.0), flips, seed)
        with suppress(MediaError):
            found = sample(path, [], POLICY)
            assert [number(s.image) for s in found.shots] == [round(s.time_s * 30) for s in found.shots]

    def test_damage_found_only_by_decoding_is_detected(self, tmp_path):
        """decord conceals such frames and reports this only on standard error."""
        path = clip(tmp_path / "a.mp4", 60, options=X264 | {"movflags": "faststart", "g": 1000})
        data = path.read_bytes()
        outcomes = Counter(
            self.outcome(path, data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
            for place in range(data.index(b"mdat") + 900, len(data), 40)
        )
        assert outcomes["seen by decoding"] > 0

    def outcome(self, path, data):
        path.write_bytes(data)
        with suppress(MediaError):
            probe(path)
            with suppress(MediaError):
                sample(path, [], POLICY)
                return "no harm"
            return "seen by decoding"
        return "seen in the packets"

    def test_the_time_limit_grows_with_the_number_of_frames(self, tmp_path):
        limits = []
        path = clip(tmp_path / "a.mp4")
        sample(path, [], POLICY, 20.0, on_limit=limits.append)
        assert limits == [20.0]
        assert decoding_limit_s(replace(probe(path), frames=86_000), 20.0) == 172.0

    def test_a_decoder_over_the_time_limit_is_stopped(self, tmp_path):
        path = clip(tmp_path / "a.ts", options=PLAIN["h264.ts"])
        with pytest.raises(MediaError, match="too slow"):
            list(decode._time_lines(path, replace(probe(path), times_s=()), 0.0))
        with pytest.raises(MediaError, match="too slow"):
            sample(path, [], POLICY, time_limit_s=0.0)


@given(st.floats(0, 1e4), st.floats(0.1, 60), st.integers(1, 8), st.integers(8, 64))
def test_sample_times(duration_s, fps, least, most):
    times = sample_times(duration_s, fps, least, most)
    assert least <= len(times) <= most
    assert all(0 <= time_s <= duration_s for time_s in times)
    assert times == sorted(times)


def test_shown_at():
    times = [0.0, 0.1, 5.0]
    assert [shown_at(times, t) for t in (-1, 0, 0.0995, 0.098, 4.9, 5.0, 9.0)] == [0, 0, 1, 0, 1, 2, 2]
