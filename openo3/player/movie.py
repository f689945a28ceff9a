"""An answer as a movie: the question, the reasoning claim by claim, boxes at their times, the answer.

    write(Path("out.gif"), data, Path("clip.mp4"), probe("clip.mp4"))

`data` is the JSON of an answer. The file's name decides between GIF and MP4.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openo3.files.artifacts import atomic_file
from openo3.media.decode import DecodedVideo, Key, SamplingConfig, sample
from openo3.media.ffmpeg import H264, encode
from openo3.media.isolated import Processes
from openo3.media.probe import Media, MediaError, decoding_limit_s
from openo3.player.canvas import Canvas, drawn_colours
from openo3.player.storyboard import Scene, storyboard
from openo3.player.tracks import Mark, Style, boxes_of, is_doubtful, marks

MAX_BYTES = 5_000_000
FPS = 12.5  # GIF counts in hundredths of a second, of which this is a whole number
ENDINGS = (".gif", ".mp4")
TIME_LIMIT_S = 180.0

_TRIES = {  # scale, every how many frames one is kept, quality: the first that gives a small enough file
    ".mp4": ((1.0, 1, 22), (1.0, 1, 28), (0.8, 1, 32), (0.6, 2, 36)),
    ".gif": ((1.0, 1, 200), (0.8, 1, 128), (0.8, 2, 96), (0.6, 2, 64), (0.5, 3, 32)),
}
_PALETTE_FROM = 12  # frames


def write(path: Path, data: Mapping[str, Any], clip: Path, media: Media, max_bytes: int = MAX_BYTES) -> None:
    """Write a movie of at most a minute and `max_bytes`; smaller and coarser where it must be.

    Raises:
        ValueError: the name ends neither in .gif nor in .mp4, or even the coarsest movie is too large.
        MediaError: the clip cannot be decoded.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: a movie's name ends in {' or '.join(ENDINGS)}")
    scenes = storyboard(data, media.duration_s)
    steps = list(_steps(scenes))
    whole = Canvas(data, media)
    pictures = _decoded(clip, media, sorted({step.time_s for step in steps}), whole.clip_size)
    with tempfile.TemporaryDirectory(prefix="openo3-") as folder:
        for scale, every, quality in _TRIES[ending]:
            canvas = whole if scale == 1 else Canvas(data, media, scale)
            frames = _Frames(canvas, steps[::every], pictures, data["claims"], media.duration_s)
            made = Path(folder, f"movie{ending}")
            options = _options(ending, quality, frames, Path(folder))
            # ffmpeg stops at once where a movie becomes too large
            encode(made, frames, FPS / every, canvas.size, {**options, "fs": round(1.1 * max_bytes)})
            if made.stat().st_size <= max_bytes:
                with atomic_file(path) as part:
                    part.write_bytes(made.read_bytes())
                return
    raise ValueError(f"{path}: more than {max_bytes / 1e6:g} MB at the lowest quality")


@dataclass(frozen=True)
class Step:
    """One frame of the movie: the scene that it belongs to, and the moment of the clip."""

    scene: Scene
    time_s: float


def _steps(scenes: Sequence[Scene]) -> Iterator[Step]:
    for scene in scenes:
        count = max(1, round(scene.seconds * FPS))
        for k in range(count):
            share = (k + 1) / count
            yield Step(scene, round(scene.start_s + share * (scene.end_s - scene.start_s), 3))


class _Frames:
    """The frames of a movie as arrays `[H, W, 3] uint8`; each iteration draws them anew."""

    def __init__(
        self,
        canvas: Canvas,
        steps: Sequence[Step],
        pictures: Mapping[float, Image.Image],
        claims: Sequence[Mapping[str, Any]],
        duration_s: float | None,
    ) -> None:
        self.canvas, self.steps, self.pictures = canvas, steps, pictures
        self.claims, self.duration_s = claims, duration_s

    def __iter__(self) -> Iterator[np.ndarray]:
        return (np.asarray(self.draw(step)) for step in self.steps)

    def picture(self, step: Step) -> Image.Image:
        """The clip's frame at a step."""
        return self.pictures[step.time_s if self.duration_s is not None else 0.0]

    def draw(self, step: Step) -> Image.Image:
        return self.canvas.draw(step.scene, self.picture(step), self._marks(step), step.time_s)

    def _marks(self, step: Step) -> list[Mark]:
        """Boxes of the claims that have been read so far; on the way to a claim, of that one too."""
        scene = step.scene
        known = self.canvas.claims_of(scene)
        if self.duration_s is None:
            return [Mark(index, box, "claimed") for index in known for box in boxes_of(self.claims[index])]
        about = scene.claim
        doubtful = {index for index, claim in enumerate(self.claims) if is_doubtful(claim, self.duration_s)}
        heard = known if about is None else known | {about}
        found = marks(self.claims, sorted(heard - doubtful), step.time_s)
        if about is None or scene.start_s != scene.end_s:
            return found
        # The clip rests for this claim: its boxes exactly as claimed
        style: Style = "doubtful" if about in doubtful else "claimed"
        others = [mark for mark in found if mark.claim != about]
        return [*others, *(Mark(about, box, style) for box in boxes_of(self.claims[about]))]


def _decoded(
    clip: Path, media: Media, times: Sequence[float], size: tuple[int, int]
) -> dict[float, Image.Image]:
    """The frame on the screen at each time, in a process of its own: decoders may crash on a broken file."""
    policy = SamplingConfig(fps=1.0, min_frames=1, max_frames=1, max_pixels=size[0] * size[1], multiple=2)
    processes = Processes()
    try:
        found = processes.call(
            _look, (str(clip), tuple(times), policy), decoding_limit_s(media, TIME_LIMIT_S)
        )
    finally:
        processes.stop()
    if isinstance(found, MediaError):
        raise found
    if media.kind == "image":
        return {0.0: found.shots[0].image}
    return {shot.asked_s: shot.image for shot in found.shots if shot.key}


def _look(job: tuple[str, Sequence[float], SamplingConfig]) -> DecodedVideo:
    path, times, policy = job
    return sample(path, [Key(time_s) for time_s in times], policy)


def _options(ending: str, quality: int, frames: _Frames, folder: Path) -> Mapping[str, object]:
    """ffmpeg's options; `quality` is H.264's crf, or the number of colours of a GIF."""
    if ending == ".mp4":
        return {**H264, "crf": quality, "movflags": "+faststart"}
    palette = folder / "palette.png"
    _palette(frames, quality).save(palette)
    graph = f"movie='{palette}'[palette];[in][palette]paletteuse=dither=none:diff_mode=rectangle[out]"
    return {"f": "gif", "pix_fmt": "pal8", "vf": graph, "loop": 0}


def _palette(frames: _Frames, colours: int) -> Image.Image:
    """A picture of 16 x 16 pixels: the colours of everything drawn, and those that serve the clip best."""
    chosen = frames.steps[:: max(1, len(frames.steps) // _PALETTE_FROM)]
    clips = Image.fromarray(np.concatenate([np.asarray(frames.picture(step)) for step in chosen]))
    fixed = drawn_colours()
    few = clips.quantize(colours - len(fixed), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    found = few.getpalette() or []
    entries = [*fixed, *(tuple(found[k : k + 3]) for k in range(0, len(found), 3))]
    picture = Image.new("RGB", (16, 16), entries[0])
    picture.putdata([*entries, *[entries[0]] * (256 - len(entries))])
    return picture
