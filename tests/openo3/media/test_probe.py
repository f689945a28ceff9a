"""Files are recognised by their content; a file without media gives a reason."""

import struct
import time

import numpy as np
import pytest
from PIL import Image

from openo3.media.image import open_image
from openo3.media.probe import MAX_PIXELS, MediaError, probe
from tests.support.clips import clip, copied, ffmpeg


def reason(path) -> str:
    with pytest.raises(MediaError) as caught:
        probe(path)
    assert str(path.parent) not in caught.value.detail
    return caught.value.reason


def test_a_video_is_recognised(tmp_path):
    media = probe(clip(tmp_path / "a.mp4", 60, 15))
    assert (media.kind, media.size, media.fps, media.duration_s) == ("video", (64, 48), 15.0, 4.0)
    assert media.times_s == tuple(round(i / 15, 6) for i in range(60))
    assert media.codec == "h264"
    assert media.independent_gops


def test_rotation_swaps_the_sides(tmp_path):
    path = clip(tmp_path / "a.mp4")
    assert probe(copied(path, tmp_path / "b.mp4", "-display_rotation", "90")).size == (48, 64)
    assert probe(copied(path, tmp_path / "c.mp4", "-display_rotation", "180")).size == (64, 48)


def test_a_container_without_times_still_has_a_length(tmp_path):
    options = {"f": "avi", "vcodec": "mpeg4", "bf": 2}
    media = probe(clip(tmp_path / "a.avi", 60, 30, options=options))
    assert (media.times_s, media.duration_s, media.fps) == ((), 2.0, pytest.approx(30.0))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_an_image_is_recognised(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 30)).save(tmp_path / "picture", "JPEG", exif=exif)
    media = probe(tmp_path / "picture")
    assert (media.kind, media.duration_s) == ("image", None)
    assert media.size == ((30, 40) if orientation >= 5 else (40, 30))


@pytest.mark.parametrize("name", ["phone.jpg", "camera.mpo", "pages.tiff"])
def test_a_file_with_several_still_pictures_is_its_first_picture(tmp_path, name):
    first, second = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (32, 24), "blue")
    kind = "TIFF" if name == "pages.tiff" else "MPO"
    first.save(tmp_path / name, kind, save_all=True, append_images=[second])
    assert (probe(tmp_path / name).kind, probe(tmp_path / name).size) == ("image", (64, 48))
    red, _, blue = open_image(tmp_path / name, (64, 48)).getpixel((30, 20))
    assert red > 200 > 50 > blue


@pytest.mark.parametrize(
    ("kind", "count", "value", "turned"),
    [
        (3, 1, b"\x06\0\0\0", True),
        (4, 1, b"\x06\0\0\0", True),
        (2, 2, b"6\0\0\0", False),
        (7, 4, b"\x06\0\0\0", False),
        (3, 1, b"\x63\0\0\0", False),
    ],
)
def test_an_orientation_of_another_type_is_none(tmp_path, kind, count, value, turned):
    """Some programs write it as text or bytes."""
    entry = struct.pack("<HHI", 0x0112, kind, count) + value
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    Image.new("RGB", (64, 32)).save(tmp_path / "a.jpg", exif=exif)
    assert probe(tmp_path / "a.jpg").size == ((32, 64) if turned else (64, 32))
    assert open_image(tmp_path / "a.jpg", probe(tmp_path / "a.jpg").size).size[0] == (32 if turned else 64)


def test_a_truncated_jpeg_is_found_without_sampling(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 9 // 10])
    assert reason(tmp_path / "a.jpg") == "unreadable"


def test_a_gif_with_one_frame_is_an_image_and_with_many_a_video(tmp_path):
    pictures = [Image.fromarray(np.full((30, 40), 60 * i, np.uint8)) for i in range(4)]
    pictures[0].save(tmp_path / "one.gif")
    pictures[0].save(tmp_path / "four.gif", save_all=True, append_images=pictures[1:], duration=250)
    assert probe(tmp_path / "one.gif").kind == "image"
    four = probe(tmp_path / "four.gif")
    assert (four.kind, four.times_s) == ("video", (0.0, 0.25, 0.5, 0.75))


def test_files_without_media_have_a_reason(tmp_path):
    assert reason(tmp_path / "absent.mp4") == "missing"
    assert reason(tmp_path) == "missing"
    for name, content, expected in [
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", np.random.default_rng(0).bytes(20_000), "unreadable"),
        ("page.mp4", b"<html>404 Not Found</html>\n" * 50, "unreadable"),
        (
            "list.mp4",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n",
            "unreadable",
        ),
        ("script.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "unreadable"),
        ("zeros.mp4", bytes(5000), "unreadable"),
        ("cut.png", (b"\x89PNG\r\n\x1a\n" + bytes(40)), "unreadable"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert reason(tmp_path / name) == expected, name


def test_sound_with_or_without_a_cover_is_not_a_video(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", tmp_path / "sound.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "sound.mp3")
    Image.new("RGB", (64, 64)).save(tmp_path / "cover.jpg")
    cover = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    ffmpeg("-i", tmp_path / "sound.mp3", "-i", tmp_path / "cover.jpg", *cover, tmp_path / "covered.mp3")
    for name in ("sound.mp4", "sound.mp3", "covered.mp3"):
        assert reason(tmp_path / name) == "no video"


def test_only_containers_are_opened(tmp_path):
    """Playlists and scripts would make ffmpeg open the files that they name."""
    secret = clip(tmp_path / "secret.mp4")
    clip(tmp_path / "secret.ts", options={"f": "mpegts", "vcodec": "libx264"})
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n"
    for name, content in [
        ("holiday.m3u8", playlist),
        ("holiday.mp4", playlist),
        ("spaces.mp4", "\n\n" + playlist),
        ("script.mp4", f"ffconcat version 1.0\nfile {secret.name}\n"),
        ("script.ffconcat", f"ffconcat version 1.0\nfile {secret.name}\n"),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
        ("notes.txt", "a text without any picture\n" * 100),
        ("art.ans", "\x1b[31mred\x1b[0m\n" * 100),
        ("a.mpd", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"/>'),
    ]:
        (tmp_path / name).write_text(content)
        assert reason(tmp_path / name) == "unreadable", name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>404</title>" * 50, "web page"),
        (b"#EXTM3U\n#EXTINF:9,\nb.ts\n", "playlist"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC and AVIF pictures are not supported"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "HEIC and AVIF pictures are not supported"),
        (b"just words, many of them. " * 99, "neither a picture nor a video"),
    ],
)
def test_messages_for_files_that_are_not_media(tmp_path, content, words):
    (tmp_path / "corrupted error.mp4").write_bytes(content)
    with pytest.raises(MediaError, match=words) as caught:
        probe(tmp_path / "corrupted error.mp4")
    assert "corrupted" not in caught.value.detail


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_message_for_a_truncated_download(tmp_path, options):
    path = clip(tmp_path / "corrupted.mp4", 240, options={"f": "mp4", "vcodec": "libx264"} | options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match=r"cut off: the last [\d,]+ bytes are missing") as caught:
        probe(path)
    assert "corrupted" not in caught.value.detail


def test_message_for_damage_does_not_quote_the_file_name(tmp_path):
    path = clip(tmp_path / "corrupted.mkv", 240, options={"f": "matroska", "vcodec": "libx264"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"damaged: cut off: the last [\d,]+ bytes are missing"):
        probe(path)


def test_an_encrypted_video_is_rejected_without_decoding(tmp_path):
    key = "0" * 32
    encryption = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key)
    path = copied(clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", after=encryption)
    assert reason(path) == "encrypted"


def test_the_audio_does_not_affect_the_length(tmp_path):
    hidden = {"f": "webm", "vcodec": "libvpx", "auto-alt-ref": 1, "lag-in-frames": 16, "b:v": "300k"}
    for name, options in (("a.webm", hidden), ("a.avi", {"f": "avi", "vcodec": "mpeg4", "bf": 2})):
        video = clip(tmp_path / name, options=options)
        sound = "libvorbis" if name == "a.webm" else "mp2"
        arguments = ("-i", video, "-f", "lavfi", "-i", "sine=d=9", "-c:v", "copy", "-c:a", sound)
        ffmpeg(*arguments, tmp_path / f"long {name}")
        assert probe(tmp_path / f"long {name}").duration_s == pytest.approx(2.0, abs=2e-3)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", ["index last.mp4", "index first.mp4", "a.mkv"])
def test_a_truncated_file_raises(tmp_path, name, share):
    options = {"f": "matroska" if name == "a.mkv" else "mp4", "vcodec": "libx264", "g": 30}
    if name == "index first.mp4":
        options["movflags"] = "faststart"
    path = clip(tmp_path / name, 240, options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert reason(path) in ("damaged", "unreadable", "no video", "no frames")


def test_absurd_times_are_refused(tmp_path):
    days = {"vf": "setpts='N*40*3600/TB'", "fps_mode": "passthrough", "enc_time_base": "1/1000"}
    path = clip(tmp_path / "a.mkv", 3, options={"f": "matroska", "vcodec": "libx264", "bf": 0} | days)
    with pytest.raises(MediaError, match=r"damaged: a frame near 144000\.000 s comes hours after the one"):
        probe(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_absurd_sizes_are_refused(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "a.png")
    assert MAX_PIXELS < 10_000**2
    assert reason(tmp_path / "a.png") == "too large"
    data = bytearray(clip(tmp_path / "a.mkv", options={"f": "matroska", "vcodec": "ffv1"}).read_bytes())
    width = data.index(b"\xb0\x81\x40")  # PixelWidth 64
    assert data[width + 3 : width + 6] == b"\xba\x81\x30"
    data[width : width + 6] = b"\xb0\x82\xff\xff\xec\x80"
    (tmp_path / "a.mkv").write_bytes(data)
    assert reason(tmp_path / "a.mkv") in ("too large", "unreadable", "damaged")


def test_probing_over_the_time_limit_is_stopped(tmp_path):
    path = clip(tmp_path / "a.mp4")
    started = time.monotonic()
    with pytest.raises(MediaError, match="too slow"):
        probe(path, time_limit_s=0.0)
    assert time.monotonic() - started < 2
