"""The player in a real browser, and the clips that it is given."""

import json

import pytest

from openo3.core.geometry import RELATIVE_1000
from openo3.inference.evidence_json import evidence_json, growing_json
from openo3.media.probe import probe
from openo3.player import clip as clips
from openo3.player.page import page
from tests.support.browser import BROWSER, Browser
from tests.support.clips import clip, ffmpeg

HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror="document.title=1">'
CUP = "<obj>cup</obj><box>[{0},0,{1},500]</box>at<t>{2}</t>s"
TEXT = (
    f"<think>{HOSTILE} The {CUP.format(0, 500, 0.5)} moves right, {CUP.format(500, 1000, 1.5)}. "
    f"A {CUP.format(0, 500, 9).replace('cup', 'late ring')} too.</think>"
    "<answer>From <t>0.5</t>s to <t>1.5</t>s</answer>"
)
PAUSED = "!document.querySelector('video').seeking"
BOXES = "[...document.querySelectorAll('.o3-mark')].map((e) => [e.classList[1], e.style.left, e.textContent])"
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture(scope="module")
def data(video):
    media = probe(video)
    said = evidence_json(TEXT, RELATIVE_1000, media.size)
    return {**said, "question": f"What? {HOSTILE}", "media": clips.embedded(video, media)}


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@pytest.fixture
def shown(browser, data, tmp_path):
    file = tmp_path / "answer.html"
    file.write_text(page(data), encoding="utf-8")
    tab = browser.open(file.as_uri())
    tab.wait("document.querySelector('video').readyState >= 2")
    yield tab
    assert tab.complaints() == []
    assert tab.requests() == [file.as_uri()]


@needs_browser
def test_texts_of_a_model_never_become_markup(shown):
    assert shown.run("document.querySelectorAll('img, script').length") == 3  # the page's own scripts
    assert shown.run("document.title") == f"What? {HOSTILE}"
    assert HOSTILE in shown.run("document.querySelector('.o3-reasoning').textContent")


@needs_browser
def test_a_complete_answer_opens_at_its_first_claim_with_the_box(shown):
    shown.wait(PAUSED)
    assert shown.run("document.querySelector('video').currentTime") == pytest.approx(0.5, abs=0.01)
    assert shown.run(BOXES) == [["o3-claimed", "0%", "cup"]]
    assert shown.run("document.querySelector('.o3-clock').textContent").startswith("0.5 / 2.0 s")


@needs_browser
@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("<think>It moves.</think><answer>From <t>0.7</t>s to <t>1.5</t>s</answer>", 0.7),
        (f"<think>{CUP.format(0, 500, 9)}{CUP.format(0, 500, 1.2)}</think><answer>a</answer>", 1.2),
        ("<think>Nothing.</think><answer>a</answer>", 0.0),
    ],
)
def test_an_answer_opens_at_what_can_be_seen(browser, data, tmp_path, video, text, begins):
    said = evidence_json(text, RELATIVE_1000, probe(video).size)
    file = tmp_path / "answer.html"
    file.write_text(page({**said, "media": data["media"]}), encoding="utf-8")
    tab = browser.open(file.as_uri())
    tab.wait("document.querySelector('video').readyState >= 2")
    tab.wait(PAUSED)
    assert tab.run("document.querySelector('video').currentTime") == pytest.approx(begins, abs=0.01)


@needs_browser
def test_a_chip_seeks_and_the_box_is_drawn_where_it_was_claimed(shown):
    shown.click(".o3-chip[data-claim='1']")
    shown.wait(PAUSED)
    assert shown.run("document.querySelector('video').currentTime") == pytest.approx(1.5, abs=0.01)
    assert shown.run(BOXES) == [["o3-claimed", "50%", "cup"]]
    assert "cup at 1.5 s [32, 0, 64, 24] px" in shown.run("document.querySelector('.o3-note').textContent")


@needs_browser
def test_between_two_claims_of_an_object_its_box_moves_and_is_dashed(shown):
    shown.run("player.seek(1)")
    shown.wait(PAUSED)
    assert shown.run(BOXES) == [["o3-between", "25%", "cup"]]
    border = "getComputedStyle(document.querySelector('.o3-mark')).borderTopStyle"
    assert shown.run(border) == "dashed"


@needs_browser
def test_a_claim_after_the_end_is_marked_and_named(shown):
    shown.click(".o3-chip[data-claim='2']")
    assert "the clip ends at 2 s" in shown.run("document.querySelector('.o3-note').textContent")
    assert shown.run("document.querySelectorAll('.o3-chip.o3-problem').length") == 1


@needs_browser
def test_the_keyboard_plays_moves_and_reaches_every_chip(shown):
    shown.run("player.seek(0)")
    shown.press("ArrowRight")
    shown.wait("document.querySelector('video').currentTime == 0.5")
    shown.run("document.querySelector('.o3-chip').focus()")
    shown.press("Tab")
    shown.press("Enter")
    shown.wait("document.querySelector('video').currentTime == 1.5")
    shown.run("Object.assign(document.querySelector('video'), {playbackRate: 0.1, currentTime: 0.3})")
    shown.press(" ")
    shown.wait("document.querySelector('.o3-chip[data-claim=\"0\"].o3-lit') !== null")
    shown.press(" ")
    shown.wait("document.querySelector('video').paused")


@needs_browser
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_screen(browser, data, tmp_path, width):
    file = tmp_path / "answer.html"
    file.write_text(page(data), encoding="utf-8")
    tab = browser.open(file.as_uri(), width=width)
    assert tab.run("document.documentElement.scrollWidth") <= width


@needs_browser
def test_a_growing_answer_keeps_the_focus_and_gains_chips(shown, data):
    media = data["media"]
    size = tuple(media["size"])
    for end in range(len(HOSTILE) + 60, len(TEXT) + 1, 40):
        state = {**growing_json(TEXT[:end], RELATIVE_1000, size), "media": media}
        shown.run(f"player.update({json.dumps(state)})")
        shown.run("document.querySelector('.o3-chip')?.focus()")
        assert "<obj" not in shown.run("document.querySelector('.o3-player').innerText")
    shown.run(f"player.update({json.dumps(data)})")
    assert shown.run("document.activeElement.className").startswith("o3-chip")
    assert shown.run("document.querySelectorAll('.o3-chip').length") == 3
    assert shown.run("document.querySelector('.o3-answer').textContent") == "AnswerFrom 0.5 s to 1.5 s"


def test_a_clip_that_browsers_play_is_embedded_as_it_is(video):
    assert clips.playable(video, probe(video)) == (video.read_bytes(), "video/mp4")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("old.avi", ["-c:v", "mpeg4"]),
        ("old.mpg", ["-c:v", "mpeg2video", "-r", "25"]),
        ("sharp.mp4", ["-c:v", "libx264", "-pix_fmt", "yuv444p"]),
    ],
)
def test_a_clip_that_browsers_do_not_play_becomes_h264_of_the_same_length(video, tmp_path, name, options):
    source, copy = tmp_path / name, tmp_path / "copy.mp4"
    ffmpeg("-i", video, *options, source)
    media = probe(source)
    content, kind = clips.playable(source, media)
    copy.write_bytes(content)
    found = probe(copy)
    assert (kind, found.codec, found.size) == ("video/mp4", "h264", media.size)
    assert found.duration_s == pytest.approx(media.duration_s, abs=0.05)
    assert clips.playable(copy, found) == (content, kind)


def test_a_video_that_starts_after_its_sound_keeps_its_times(video, tmp_path):
    source, copy = tmp_path / "late.ts", tmp_path / "copy.mp4"
    silence = ["-f", "lavfi", "-t", "1", "-i", "anullsrc"]
    ffmpeg("-itsoffset", "0.7", "-i", video, *silence, "-c:v", "mpeg2video", "-c:a", "mp2", source)
    media = probe(source)
    assert media.times_s[0] == pytest.approx(0.7, abs=0.1)
    copy.write_bytes(clips.playable(source, media).content)
    assert probe(copy).duration_s == pytest.approx(media.duration_s, abs=0.05)


def test_a_clip_that_is_too_large_for_a_page_is_refused(video):
    with pytest.raises(clips.TooLarge, match=r"clip.mp4: .* MB"):
        clips.playable(video, probe(video), max_bytes=1000)
    with pytest.raises(clips.TooLarge):
        clips.playable(video, probe(video), small=True, max_bytes=1000)
