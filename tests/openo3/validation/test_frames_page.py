import re
from pathlib import Path

from openo3.validation import frames_page
from openo3.validation.frames_page import LostMedia, html

HOSTILE = "<script>alert('x')</script>\"><img src=//evil.example/x>"


def store(media: int, rejected: int) -> dict:
    return {"media": media, "rejected": rejected, "frames": 8 * media, "key_frames": media}


def lost(name: str, records: int = 1, reason: str = "damaged") -> LostMedia:
    return LostMedia("train", name, name, reason, f"detail of {name}", records)


def render(lost: list[LostMedia], failed: tuple[str, ...] = (), media: int = 1234) -> str:
    return html({"train": store(media, len(lost))}, lost, failed, 0.05, Path("absent"))


def test_each_file_has_its_cause_its_records_and_a_next_step():
    text = render([lost("a.mp4", 3), lost("b.mp4", 20, "encrypted"), lost("c.mp4", 1, "another")])
    rows = [re.sub(r"<[^>]*>", " ", row).split() for row in re.findall(r"<tr><td.*?</tr>", text)]
    assert [row[:5] for row in rows] == [
        ["b.mp4", "train", "20", "encrypted", ":"],
        ["a.mp4", "train", "3", "damaged", ":"],
        ["c.mp4", "train", "1", "another", ":"],
    ]
    assert [" ".join(row[-3:]) for row in rows] == [
        "copy without protection.",
        "its records afterwards.",
        "its records out.",
    ]
    assert "1,234 of 1,237 media files gave frames" in " ".join(text.split())
    assert "costs 24 of its usable records" in text


def test_a_run_without_losses_says_so():
    text = render([])
    assert "None of those that passed" in text
    assert 'id="files"' not in text
    assert 'href="../validation/index.html"' in text


def test_a_failed_store_is_marked_with_the_next_step():
    text = render([lost("a.mp4")], failed=("train",))
    assert "Stopped: more than 5.0 % of the media of train gave no frames" in text
    assert "raise <code>sample_frames.max_rejected_share</code>" in text
    assert 'class="tile failed"' in text


def test_texts_are_escaped_and_the_list_is_bounded(monkeypatch):
    monkeypatch.setattr(frames_page, "LISTED", 3)
    text = render([lost(HOSTILE, 9), *(lost(f"{k}.mp4") for k in range(9))])
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert text.count("<tr><td") == 3
    assert "3 of 10, those that cost the most records" in text
    assert not re.search(r"https?://|@import|url\(|src=\"", text)
