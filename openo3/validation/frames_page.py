"""The page about media that pass `validate` but give no frames: which, why, what it costs, what to do.

html({"train": {"media": 998, "rejected": 2, "frames": 15210, "key_frames": 2210, ...}},
     [LostMedia("train", "videos/local/videos/a.mp4", "videos/local/videos/a.mp4", "damaged", "...", 4)],
     failed=[], max_share=0.05, folder=Path("data/raw/media"))
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from openo3.drawing.overlay import picture
from openo3.media.thumbnail import Moment, thumbnails
from openo3.validation import layout

LISTED, PICTURES = 500, 12

NEXT_STEPS: Mapping[str, str] = {
    "damaged": "Copy or download the file again. If it is damaged where it comes from, converting it keeps "
    "what can still be decoded; check its length and the times of its records afterwards.",
    "encrypted": "Get a copy without protection.",
    "missing": "Run the stage download again.",
    "empty": "Copy or download the file again.",
    "too large": "Scale it down.",
    "too slow": "Raise the parameter sample_frames.time_limit_s, or convert the file.",
    "no video": "Get a copy that has a picture.",
}
OTHERWISE = "Convert the file to H.264 in MP4, or a picture to JPEG, or leave its records out."


@dataclass(frozen=True)
class LostMedia:
    """What a store has no frames of: a media file, a segment of one, or the picture of a question.

    `media` is its name in the store, `file` the file below `data/raw/media`. So many `records` need it.
    """

    store: str
    media: str
    file: str
    reason: str
    detail: str
    records: int

    @property
    def next_step(self) -> str:
        return NEXT_STEPS.get(self.reason, OTHERWISE)


def html(
    counts: Mapping[str, Mapping[str, Any]],
    lost: Sequence[LostMedia],
    failed: Collection[str],
    max_share: float,
    folder: Path,
) -> str:
    """The page about the numbers of `metrics/frames.json`.

    `failed` names the stores of which more than `max_share` of the media gave no frames. Those of the lost
    media that cost the most records are listed, with a picture where one can be decoded from `folder`.
    """
    listed = sorted(lost, key=lambda each: (-each.records, each.store, each.media))[:LISTED]
    return layout.render(
        "frames_page.html.j2",
        counts=counts,
        media=sum(each["media"] for each in counts.values()),
        rejected=sum(each["rejected"] for each in counts.values()),
        records=sum(each.records for each in lost),
        allowed=layout.percent(max_share),
        failed=failed,
        listed=[(each, pictured) for each, pictured in zip(listed, _pictures(listed, folder), strict=True)],
        count=len(lost),
    )


def _pictures(listed: Sequence[LostMedia], folder: Path) -> list[Markup | None]:
    """A picture for each of the first files that has one."""
    moments = [Moment(folder / each.file) for each in listed]
    found = thumbnails(moments[:PICTURES])
    return [
        picture(seen.image(), [], seen.instead, f"From {each.media}") if (seen := found.get(moment)) else None
        for each, moment in zip(listed, moments, strict=True)
    ]
