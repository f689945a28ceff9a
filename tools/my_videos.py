"""Make `examples/my-videos/` and `examples/annotations/` anew: `python -m tools.my_videos`.

Small drawn scenes with everything that a record needs known exactly, so that the examples are right by
construction. The same clips are then annotated as other tools would write it, one file for each format.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from openo3.files.artifacts import atomic_file, write_json
from openo3.media.ffmpeg import H264, encode

FOLDER = Path("examples/my-videos")
ANNOTATIONS = Path("examples/annotations")
SIZE = (320, 180)
FPS, SECONDS = 25, 6
LARGER = 3  # pictures are drawn so many times larger, for smooth edges
BOX = tuple[float, float, float, float]
Pen = Callable[[ImageDraw.ImageDraw, BOX], None]


@dataclass(frozen=True)
class Thing:
    """An object: where it is at each second, in pixels of `SIZE` (None: not there), and how it is drawn in a
    box."""

    name: str
    at: Callable[[float], BOX | None]
    draw: Pen

    def seen(self, time_s: float) -> BOX | None:
        """The part of its box that is inside the frame."""
        if (box := self.at(time_s)) is None:
            return None
        x1, y1, x2, y2 = max(0, box[0]), max(0, box[1]), min(SIZE[0], box[2]), min(SIZE[1], box[3])
        return (x1, y1, x2, y2) if x2 - x1 > 2 and y2 - y1 > 2 else None

    def normalised(self, time_s: float) -> list[float]:
        box = self.seen(time_s)
        assert box is not None
        return [round(value / side, 4) for value, side in zip(box, SIZE * 2, strict=True)]


@dataclass(frozen=True)
class Scene:
    name: str
    background: Callable[[ImageDraw.ImageDraw, np.random.Generator], None]
    things: tuple[Thing, ...]
    light: float = 1.0

    def frames(self) -> Iterator[np.ndarray]:
        """[180, 320, 3] uint8 each."""
        rng = np.random.default_rng(7)
        empty = Image.new("RGB", (SIZE[0] * LARGER, SIZE[1] * LARGER))
        self.background(ImageDraw.Draw(empty), rng)
        grain = rng.normal(0, 3, (SIZE[1], SIZE[0], 1))
        for number in range(FPS * SECONDS):
            yield self._frame(empty, grain, number / FPS)

    def _frame(self, empty: Image.Image, grain: np.ndarray, time_s: float) -> np.ndarray:
        picture = empty.copy()
        shadows = Image.new("L", picture.size)
        boxes = [(thing, box) for thing in self.things if (box := thing.at(time_s)) is not None]
        for _, (x1, _y1, x2, y2) in boxes:
            flat = (x1 - 2, y2 - 5, x2 + 6, y2 + 4)
            ImageDraw.Draw(shadows).ellipse(_large(flat), fill=90)
        picture.paste((25, 20, 20), mask=shadows.filter(ImageFilter.GaussianBlur(4 * LARGER)))
        for thing, box in boxes:
            thing.draw(ImageDraw.Draw(picture), _large(box))
        small = np.asarray(picture.resize(SIZE, Image.Resampling.LANCZOS), dtype=float)
        return np.clip((small + grain) * self.light, 0, 255).astype(np.uint8)


def _large(box: BOX) -> BOX:
    x1, y1, x2, y2 = (value * LARGER for value in box)
    return x1, y1, x2, y2


def _part(box: BOX, x1: float, y1: float, x2: float, y2: float) -> BOX:
    """A part of a box, given in shares of it."""
    width, height = box[2] - box[0], box[3] - box[1]
    return box[0] + x1 * width, box[1] + y1 * height, box[0] + x2 * width, box[1] + y2 * height


def _moving(
    start: BOX, end: BOX, begin_s: float, end_s: float, until_s: float = SECONDS
) -> Callable[[float], BOX | None]:
    """From one box to another between two seconds, with a soft start and stop, and there until it is taken
    away."""

    def at(time_s: float) -> BOX | None:
        if not begin_s <= time_s < until_s:
            return None
        share = min(1.0, (time_s - begin_s) / (end_s - begin_s))
        share = (1 - math.cos(math.pi * share)) / 2
        x1, y1, x2, y2 = (a + (b - a) * share for a, b in zip(start, end, strict=True))
        return x1, y1, x2, y2

    return at


def _still(box: BOX) -> Callable[[float], BOX | None]:
    return lambda time_s: box


def _gradient(draw: ImageDraw.ImageDraw, box: BOX, top: tuple[int, ...], bottom: tuple[int, ...]) -> None:
    x1, y1, x2, y2 = map(int, box)
    for y in range(y1, y2):
        share = (y - y1) / max(1, y2 - y1)
        colour = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        draw.line((x1, y, x2, y), fill=colour)


def _fruit(colour: tuple[int, int, int]) -> Pen:
    def draw(pen: ImageDraw.ImageDraw, box: BOX) -> None:
        for ring in range(24):  # lighter towards the light, upper left
            share = ring / 24
            shade = tuple(min(255, round(value * (0.62 + 0.5 * share))) for value in colour)
            pen.ellipse(
                _part(box, 0.38 * share, 0.30 * share, 1 - 0.55 * share, 1 - 0.62 * share), fill=shade
            )
        pen.ellipse(_part(box, 0.26, 0.18, 0.40, 0.29), fill=(255, 245, 225))

    return draw


def _jug(pen: ImageDraw.ImageDraw, box: BOX) -> None:
    width = (box[2] - box[0]) // 12
    pen.arc(_part(box, 0.62, 0.22, 1.0, 0.72), -100, 110, fill=(40, 74, 128), width=int(width))
    pen.polygon(
        [*_part(box, 0.08, 0.06, 0.66, 0.06), *_part(box, 0.78, 0.98, 0.0, 0.98)], fill=(58, 100, 168)
    )
    pen.polygon(
        [*_part(box, 0.14, 0.06, 0.28, 0.06), *_part(box, 0.24, 0.98, 0.08, 0.98)], fill=(96, 140, 205)
    )
    pen.ellipse(_part(box, 0.08, 0.0, 0.66, 0.13), fill=(34, 62, 108))


def _car(colour: tuple[int, int, int]) -> Pen:
    dark = tuple(value * 7 // 10 for value in colour)

    def draw(pen: ImageDraw.ImageDraw, box: BOX) -> None:
        radius = int((box[3] - box[1]) * 0.16)
        pen.polygon([*_part(box, 0.16, 0.46, 0.30, 0.0), *_part(box, 0.70, 0.0, 0.88, 0.46)], fill=dark)
        pen.polygon(
            [*_part(box, 0.23, 0.42, 0.33, 0.08), *_part(box, 0.49, 0.08, 0.49, 0.42)], fill=(186, 214, 226)
        )
        pen.polygon(
            [*_part(box, 0.53, 0.42, 0.53, 0.08), *_part(box, 0.68, 0.08, 0.80, 0.42)], fill=(170, 200, 214)
        )
        pen.rounded_rectangle(_part(box, 0.0, 0.40, 1.0, 0.84), radius, fill=colour)
        pen.rectangle(_part(box, 0.02, 0.66, 0.98, 0.72), fill=dark)
        pen.ellipse(_part(box, 0.0, 0.48, 0.05, 0.60), fill=(255, 244, 190))
        for left in (0.14, 0.68):
            pen.ellipse(_part(box, left, 0.62, left + 0.18, 1.0), fill=(28, 28, 30))
            pen.ellipse(_part(box, left + 0.05, 0.73, left + 0.13, 0.89), fill=(150, 150, 156))

    return draw


def _bus(pen: ImageDraw.ImageDraw, box: BOX) -> None:
    pen.rounded_rectangle(_part(box, 0.0, 0.0, 1.0, 0.86), int((box[3] - box[1]) * 0.08), fill=(176, 44, 44))
    for window in range(6):
        left = 0.05 + window * 0.155
        pen.rectangle(_part(box, left, 0.14, left + 0.12, 0.48), fill=(188, 210, 222))
    pen.rectangle(_part(box, 0.0, 0.60, 1.0, 0.66), fill=(235, 225, 205))
    for left in (0.12, 0.74):
        pen.ellipse(_part(box, left, 0.72, left + 0.14, 1.0), fill=(28, 28, 30))


def _mug(pen: ImageDraw.ImageDraw, box: BOX) -> None:
    """A mug from above, with its handle to the right."""
    width = int((box[2] - box[0]) * 0.07)
    pen.rounded_rectangle(_part(box, 0.70, 0.38, 1.0, 0.62), width, outline=(214, 210, 202), width=width)
    pen.ellipse(_part(box, 0.0, 0.0, 0.82, 1.0), fill=(236, 233, 226))
    pen.ellipse(_part(box, 0.08, 0.10, 0.74, 0.90), fill=(74, 45, 28))
    pen.arc(_part(box, 0.13, 0.16, 0.69, 0.84), 190, 260, fill=(140, 100, 72), width=width // 2)


def _phone(pen: ImageDraw.ImageDraw, box: BOX) -> None:
    radius = int((box[2] - box[0]) * 0.14)
    pen.rounded_rectangle(box, radius, fill=(24, 25, 29))
    pen.rounded_rectangle(_part(box, 0.06, 0.05, 0.94, 0.95), radius, fill=(58, 66, 86))
    for line in range(4):
        pen.rectangle(
            _part(box, 0.18, 0.18 + 0.12 * line, 0.78 - 0.12 * (line % 2), 0.22 + 0.12 * line),
            fill=(120, 132, 158),
        )


def _notebook(pen: ImageDraw.ImageDraw, box: BOX) -> None:
    pen.rectangle(box, fill=(244, 240, 228))
    for line in range(1, 12):
        pen.line((*_part(box, 0.08, line / 12, 0.96, line / 12),), fill=(186, 200, 214), width=LARGER)
    for hole in range(8):
        pen.ellipse(_part(box, 0.01, 0.05 + hole * 0.12, 0.05, 0.09 + hole * 0.12), fill=(120, 108, 92))


def _wood(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: BOX, colour: tuple[int, int, int]
) -> None:
    _gradient(
        draw,
        _large(box),
        tuple(value * 11 // 10 for value in colour),
        tuple(value * 8 // 10 for value in colour),
    )
    for _ in range(70):
        y = rng.uniform(box[1], box[3])
        x, length = rng.uniform(box[0] - 60, box[2]), rng.uniform(40, 180)
        shade = tuple(round(value * rng.uniform(0.82, 1.02)) for value in colour)
        draw.line(_large((x, y, x + length, y + rng.uniform(-1, 1))), fill=shade, width=LARGER)


def _kitchen(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _gradient(draw, _large((0, 0, 320, 112)), (226, 218, 202), (198, 188, 170))
    for row in range(5):
        for column in range(-1, 13):
            x, y = column * 27 + 13 * (row % 2), row * 15
            draw.rectangle(_large((x, y, x + 26, y + 14)), outline=(182, 172, 156), width=LARGER)
    _wood(draw, rng, (0, 110, 320, 180), (150, 108, 70))


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _gradient(draw, _large((0, 0, 320, 70)), (150, 190, 224), (214, 226, 232))
    x = -10.0
    while x < 320:
        width, top = float(rng.uniform(40, 70)), float(rng.uniform(14, 40))
        colour = tuple(int(value) for value in rng.uniform(130, 190, 3))
        draw.rectangle(_large((x, top, x + width, 110)), fill=colour)
        for left in np.arange(x + 6, x + width - 8, 14).tolist():
            for upper in np.arange(top + 8, 96, 18).tolist():
                draw.rectangle(_large((left, upper, left + 7, upper + 10)), fill=(92, 104, 118))
        x += width
    draw.rectangle(_large((0, 104, 320, 120)), fill=(172, 168, 160))
    _gradient(draw, _large((0, 120, 320, 180)), (92, 92, 96), (68, 68, 72))
    for left in range(-20, 320, 46):
        draw.rectangle(_large((left, 150, left + 24, 153)), fill=(216, 214, 206))
    for trunk in (64, 262):
        draw.rectangle(_large((trunk, 70, trunk + 6, 112)), fill=(86, 62, 44))
        for _ in range(26):
            cx, cy = float(rng.normal(trunk + 3, 11)), float(rng.normal(56, 9))
            green = tuple(int(value) for value in (60 + rng.uniform(-14, 22), 110 + rng.uniform(-20, 24), 58))
            draw.ellipse(_large((cx - 9, cy - 8, cx + 9, cy + 8)), fill=green)


def _desk(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _wood(draw, rng, (0, 0, 320, 180), (172, 134, 94))


KITCHEN = Scene(
    "kitchen",
    _kitchen,
    (
        Thing("blue jug", _still((228, 58, 280, 128)), _jug),
        Thing("orange", _moving((-36, 118, 0, 154), (132, 118, 168, 154), 1.0, 3.6), _fruit((240, 140, 30))),
        Thing(
            "green apple",
            _moving((320, 128, 352, 160), (186, 128, 218, 160), 3.0, 5.0),
            _fruit((120, 176, 60)),
        ),
    ),
)
STREET = Scene(
    "street",
    _street,
    (
        Thing("red bus", _moving((-150, 78, -10, 138), (330, 78, 470, 138), 2.6, 5.8, 5.8), _bus),
        Thing(
            "yellow car",
            _moving((325, 118, 413, 158), (-95, 118, -7, 158), 0.4, 3.8, 3.8),
            _car((228, 182, 44)),
        ),
    ),
)
DESK = Scene(
    "desk",
    _desk,
    (
        Thing("notebook", _still((36, 26, 146, 160)), _notebook),
        Thing("mug", _moving((212, 182, 264, 226), (212, 42, 264, 86), 0.8, 2.4), _mug),
        Thing("phone", _moving((322, 96, 356, 160), (208, 102, 242, 166), 3.2, 4.6), _phone),
    ),
)
EVENING = Scene(
    "street_evening",
    _street,
    (
        Thing(
            "white car",
            _moving((-95, 120, -7, 160), (325, 120, 413, 160), 0.6, 3.4, 3.4),
            _car((226, 226, 222)),
        ),
        Thing("red bus", _moving((330, 78, 470, 138), (-150, 78, -10, 138), 2.2, 5.6, 5.6), _bus),
    ),
    light=0.66,
)
Row = dict[str, Any]


def _thing(scene: Scene, name: str) -> Thing:
    return next(thing for thing in scene.things if thing.name == name)


def _in_view(thing: Thing) -> tuple[float, float]:
    """The first second at which it is in the frame, and the end of the last frame."""
    frames = [number for number in range(FPS * SECONDS) if thing.seen(number / FPS)]
    return frames[0] / FPS, (frames[-1] + 1) / FPS


def _spatial(
    scene: Scene, id: str, question: str, answer: str, things: Mapping[str, tuple[float, ...]], words: str
) -> Row:
    """A temporal-spatial record; `words` has {0}, {1}, ... for the claims, in the order of their times."""
    times = sorted({time for each in things.values() for time in each})
    items, claims = {}, []
    for idx, time_s in enumerate(times, start=1):
        named = {
            name: [_thing(scene, name).normalised(time_s)] for name, each in things.items() if time_s in each
        }
        items[str(idx)] = named
        for name, [box] in named.items():
            written = ",".join(map(str, box))
            claims.append(f"<obj>{name}</obj><box>[{written}]</box>at<t>{time_s:.1f}</t>s")
    row = _video(scene, id, "temporal-spatial free-form QA", question, answer, words.format(*claims))
    frames = [{"idx": idx, "time": time_s} for idx, time_s in enumerate(times, start=1)]
    return row | {"key_frames": frames, "key_items": items}


def _video(scene: Scene, id: str, task: str, question: str, answer: str, reasoning: str) -> Row:
    row: Row = {"id": id, "task": task, "source": "local", "question": question, "answer": answer}
    row |= {"video_path": f"{scene.name}.mp4", "image_size": None, "key_frames": [], "key_items": {}}
    return row | {"reasoning_process": reasoning}


def records() -> list[Row]:
    """One record of each task, as STGR-SFT.json has it, and a second of the first."""
    rolls, passes = (1.0, 3.6), _in_view(_thing(STREET, "yellow car"))
    mug = _thing(DESK, "mug").seen(SECONDS - 1 / FPS)
    assert mug is not None
    box = "[" + ",".join(str(round(side)) for side in mug) + "]"
    return [
        _spatial(
            KITCHEN,
            "kitchen-orange",
            "What rolls onto the table from the left?",
            "an orange",
            {"orange": (2.0, 4.0)},
            "Something round comes in from the left: the {0}. It rolls on and stops in the middle of the "
            "table, where the {1} lies still. So it is an orange.",
        ),
        _spatial(
            STREET,
            "street-bus",
            "Which vehicle comes after the yellow car?",
            "a red bus",
            {"yellow car": (1.6,), "red bus": (4.2,)},
            "First the {0} drives past to the left. After it, the {1} comes from the other side.",
        ),
        _video(
            KITCHEN,
            "kitchen-when",
            "temporal QA",
            "When does the orange roll?",
            f"From <t>{rolls[0]}</t>s to <t>{rolls[1]}</t>s",
            f"The orange comes in at <t>{rolls[0]}</t>s, and at <t>{rolls[1]}</t>s it has come to rest.",
        ),
        _video(
            STREET,
            "street-when",
            "temporal QA (MCQ)",
            "When is the yellow car in view, and where does it drive?\n"
            "A. to the right\nB. to the left\nC. it is parked",
            f"From <t>{passes[0]}</t>s to <t>{passes[1]}</t>s\nCorrect Option: B",
            f"The yellow car appears at the right edge at <t>{passes[0]}</t>s and has left the frame to the "
            f"left at <t>{passes[1]}</t>s, so it drives to the left.",
        ),
        {
            "id": "desk-mug",
            "task": "visual QA",
            "source": "local",
            "question": "Where is the mug?",
            "answer": f"<obj>mug</obj><box>{box}</box>",
            "image_path": "desk.jpg",
            "image_size": list(SIZE),
            "key_frames": [],
            "key_items": {},
            "reasoning_process": f"To the right of the notebook I see the <obj>mug</obj><box>{box}</box>.",
        },
        _video(
            DESK,
            "desk-first",
            "General video QA MCQ",
            "What is put on the desk first?\nA. a phone\nB. a mug\nC. a plate",
            "B",
            "The mug is pushed onto the desk before the phone is.",
        ),
        _video(
            DESK,
            "desk-after",
            "General video QA Free-form",
            "What is put on the desk after the mug?",
            "a phone",
            "When the mug stands beside the notebook, a phone is pushed in from the right.",
        ),
    ]


def reinforced(rows: list[Row]) -> list[Row]:
    """The same records as STGR-RL.json has them: spans as lists, no reasoning."""
    found = []
    for row in rows:
        row = {name: value for name, value in row.items() if name != "reasoning_process"}
        if row["task"].startswith("temporal QA"):
            span, _, option = row["answer"].partition("\nCorrect Option: ")
            start, end = (float(part.split("</t>")[0]) for part in span.split("<t>")[1:])
            row["answer"] = f"{option}\n[{start}, {end}]" if option else f"[{start}, {end}]"
        found.append(row)
    return found


def benchmark() -> list[Row]:
    """V-STaR's records about the clip that no training record shows."""
    found = []
    for name, question, answer in (
        ("white car", "Which vehicle drives to the right?", "a white car"),
        ("red bus", "Which vehicle drives to the left?", "a red bus"),
    ):
        thing = _thing(EVENING, name)
        start, end = _in_view(thing)
        boxes = []
        for second in range(math.ceil(start), math.ceil(end)):
            if seen := thing.seen(second):
                sides = dict(
                    zip(("xmin", "ymin", "xmax", "ymax"), (round(side, 1) for side in seen), strict=True)
                )
                boxes.append({"timestamp": second, "frame_index": second * FPS, **sides})
        found.append(
            {
                "vid": EVENING.name,
                "domain": "Traffic",
                "fps": float(FPS),
                "width": SIZE[0],
                "height": SIZE[1],
                "frame_count": FPS * SECONDS,
                "question": question,
                "answer": answer,
                "object": name,
                "temporal_question": f"When is the {name} in view?",
                "timestamps": [start, end],
                "spatial_question": f"Where is the {name}?",
                "spatial_question_2": f"Where is {answer.replace('a ', 'the ', 1)} that drives past?",
                "bboxes": boxes,
            }
        )
    return found


def write_videos(folder: Path) -> None:
    """The folder as `download.source: local` reads it."""
    options = {**H264, "crf": 26}
    for scene in (KITCHEN, STREET, DESK):
        encode(folder / f"videos/{scene.name}.mp4", scene.frames(), FPS, SIZE, options)
    encode(folder / f"vstar/{EVENING.name}.mp4", EVENING.frames(), FPS, SIZE, options)
    *_, last = DESK.frames()
    with atomic_file(folder / "images/desk.jpg") as part:
        Image.fromarray(last).save(part, format="JPEG", quality=88)
    rows = records()
    write_json(folder / "STGR-SFT.json", rows)
    write_json(folder / "STGR-RL.json", reinforced(rows))
    write_json(folder / "V_STaR_test.json", benchmark())


# --- the same clips as other tools would have them

ROLLING = (38, 50, 75, 100, 149)  # frames at which a person drew the orange


def cvat() -> str:
    """An export of CVAT 2: key frames, a few of the boxes in between, and the end of the bus."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "  <version>1.1</version>",
        "  <meta>",
        f"    <task><id>12</id><name>street</name><size>{FPS * SECONDS}</size><mode>interpolation</mode>",
        "      <overlap>5</overlap><bugtracker></bugtracker><created>2026-03-02 09:14:11+00:00</created>",
        f"      <start_frame>0</start_frame><stop_frame>{FPS * SECONDS - 1}</stop_frame>",
        "      <frame_filter></frame_filter>",
        "      <labels>",
        "        <label><name>yellow car</name><color>#e4b62c</color><type>any</type><attributes/></label>",
        "        <label><name>red bus</name><color>#b02c2c</color><type>any</type><attributes/></label>",
        "      </labels>",
        f"      <original_size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></original_size>",
        "      <source>street.mp4</source>",
        "    </task>",
        "    <dumped>2026-03-02 09:40:02+00:00</dumped>",
        "  </meta>",
    ]
    for number, (name, drawn) in enumerate((("yellow car", (30, 45, 60, 75)), ("red bus", (85, 100, 115)))):
        thing = _thing(STREET, name)
        lines.append(f'  <track id="{number}" label="{name}" source="manual">')
        for frame in range(drawn[0], drawn[-1] + 1, 5):
            key = frame in drawn
            before, after = max(d for d in drawn if d <= frame), min(d for d in drawn if d >= frame)
            first, last = thing.seen(before / FPS), thing.seen(after / FPS)
            assert first is not None
            assert last is not None
            share = 0 if key else (frame - before) / (after - before)
            box = tuple(a + (b - a) * share for a, b in zip(first, last, strict=True))
            lines.append(_cvat_box(frame, box, key, outside=False))
        lines.append(_cvat_box(drawn[-1] + 1, thing.seen(drawn[-1] / FPS), True, outside=True))
        lines.append("  </track>")
    return "\n".join([*lines, "</annotations>", ""])


def _cvat_box(frame: int, box: Any, key: bool, outside: bool) -> str:
    sides = " ".join(
        f'{name}="{side:.2f}"' for name, side in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)
    )
    flags = f'frame="{frame}" keyframe="{int(key)}" outside="{int(outside)}" occluded="0"'
    return f'    <box {flags} {sides} z_order="0">\n    </box>'


def coco_video() -> Row:
    """As TAO has it: an image for each annotated frame, about two videos."""
    found: dict[str, list[Row]] = {
        name: [] for name in ("videos", "images", "annotations", "tracks", "categories")
    }
    for number, (scene, names) in enumerate(
        ((KITCHEN, ("orange", "blue jug")), (STREET, ("yellow car",))), start=1
    ):
        video = {"id": number, "name": scene.name, "width": SIZE[0], "height": SIZE[1], "fps": FPS}
        found["videos"].append(video)
        images = {}
        for frame in range(0, FPS * SECONDS, FPS):
            images[frame] = len(found["images"]) + 1
            name = f"{scene.name}/{frame:06d}.jpg"
            shape = {"width": SIZE[0], "height": SIZE[1], "frame_index": frame}
            found["images"].append({"id": images[frame], "video_id": number, "file_name": name, **shape})
        for name in names:
            category = len(found["categories"]) + 1
            found["categories"].append({"id": category, "name": name})
            found["tracks"].append({"id": category, "category_id": category, "video_id": number})
            for frame, image in images.items():
                if box := _thing(scene, name).seen(frame / FPS):
                    sides = [round(side, 2) for side in (box[0], box[1], box[2] - box[0], box[3] - box[1])]
                    row = {"id": len(found["annotations"]) + 1, "image_id": image, "video_id": number}
                    row |= {"category_id": category, "track_id": category, "bbox": sides, "iscrowd": 0}
                    found["annotations"].append(row | {"area": round(sides[2] * sides[3], 2)})
    return {"info": {"description": "two clips of examples/my-videos"}, **found}


def label_studio() -> list[Row]:
    """An export of two tasks: one with a question in a text area, one of an image."""
    orange = _thing(KITCHEN, "orange")
    sequence = []
    for frame in ROLLING:
        box = orange.seen(frame / FPS)
        assert box is not None
        x, y, right, bottom = (100 * value / side for value, side in zip(box, SIZE * 2, strict=True))
        sides = {"x": x, "y": y, "width": right - x, "height": bottom - y, "rotation": 0}
        sequence.append(
            {"frame": frame + 1, "enabled": frame != ROLLING[-1], "time": (frame + 1) / FPS, **sides}
        )
    facts = {"framesCount": FPS * SECONDS, "duration": float(SECONDS)}
    value = {**facts, "sequence": sequence, "labels": ["orange"]}
    common = {"to_name": "video", "origin": "manual"}
    results = [
        {"id": "kXq1s", "type": "videorectangle", "from_name": "box", "value": value, **common},
        _typed("a7Tz0", "question", "textarea", {"text": ["What rolls onto the table?"]}),
        _typed("a7Tz1", "answer", "textarea", {"text": ["an orange"]}),
        _typed("a7Tz2", "task", "choices", {"choices": ["temporal-spatial free-form QA"]}),
    ]
    mug = _thing(DESK, "mug").seen(SECONDS - 1 / FPS)
    assert mug is not None
    x, y, right, bottom = (100 * value / side for value, side in zip(mug, SIZE * 2, strict=True))
    square = {
        "x": x,
        "y": y,
        "width": right - x,
        "height": bottom - y,
        "rotation": 0,
        "rectanglelabels": ["mug"],
    }
    size = {"original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0}
    region = {
        "id": "9kLpR",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "value": square,
        **size,
    }
    return [
        _ls_task(41, {"video": "/data/upload/3/1f0c4b2a-kitchen.mp4"}, results),
        _ls_task(42, {"image": "/data/upload/3/77ab01cd-desk.jpg"}, [region]),
    ]


def _typed(id: str, name: str, type: str, value: Row) -> Row:
    return {"id": id, "type": type, "from_name": name, "to_name": "video", "origin": "manual", "value": value}


def _ls_task(number: int, data: Row, results: list[Row]) -> Row:
    annotation = {"id": number + 100, "was_cancelled": False, "ground_truth": False, "result": results}
    dates = {"created_at": "2026-03-02T10:02:11.000000Z", "updated_at": "2026-03-02T10:09:40.000000Z"}
    return {
        "id": number,
        "annotations": [annotation | dates],
        "predictions": [],
        "data": data,
        "project": 3,
    } | dates


def via_2() -> Row:
    """A project of VIA 2 with one image."""
    regions = []
    for name in ("mug", "notebook", "phone"):
        box = _thing(DESK, name).seen(SECONDS - 1 / FPS)
        assert box is not None
        x, y, right, bottom = map(round, box)
        shape = {"name": "rect", "x": x, "y": y, "width": right - x, "height": bottom - y}
        regions.append({"shape_attributes": shape, "region_attributes": {"object": name}})
    entry = {"filename": "desk.jpg", "size": -1, "regions": regions, "file_attributes": {}}
    attributes = {"region": {"object": {"type": "text", "description": "", "default_value": ""}}, "file": {}}
    return {
        "_via_settings": {"project": {"name": "desk"}},
        "_via_img_metadata": {"desk.jpg-1": entry},
        "_via_attributes": attributes,
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": ["desk.jpg-1"],
    }


def via_3() -> Row:
    """A project of VIA 3 with a video: regions at moments, and a part of the video."""
    metadata: dict[str, Row] = {}
    for name, option, times in (("mug", "0", (1.6, 2.4, 4.0)), ("phone", "1", (4.0, 5.2))):
        for time_s in times:
            box = _thing(DESK, name).seen(time_s)
            assert box is not None
            x, y, right, bottom = (round(side, 3) for side in box)
            region = {
                "vid": "1",
                "flg": 0,
                "z": [time_s],
                "xy": [2, x, y, round(right - x, 3), round(bottom - y, 3)],
            }
            metadata[f"1_{name[0]}{len(metadata)}"] = region | {"av": {"1": option}}
    metadata["1_span"] = {"vid": "1", "flg": 0, "z": [3.2, 4.6], "xy": [], "av": {"2": "phone pushed in"}}
    options = {"0": "mug", "1": "phone", "2": "notebook"}
    attribute = {"type": 4, "desc": "", "default_option_id": ""}
    return {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "1",
            "pname": "desk",
            "data_format_version": "3.1.2",
            "vid_list": ["1"],
        },
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
        "attribute": {
            "1": {"aname": "object", "anchor_id": "FILE1_Z1_XY1", **attribute, "options": options},
            "2": {"aname": "activity", "anchor_id": "FILE1_Z2_XY0", **attribute, "type": 1, "options": {}},
        },
        "file": {"1": {"fid": "1", "fname": "desk.mp4", "type": 4, "loc": 1, "src": ""}},
        "metadata": metadata,
        "view": {"1": {"fid_list": ["1"]}},
    }


def write_annotations(folder: Path) -> None:
    """One file for each format that `openo3 convert` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cvat.xml").write_text(cvat(), encoding="utf-8")
    for name, value in (
        ("coco-video", coco_video()),
        ("label-studio", label_studio()),
        ("via-2", via_2()),
        ("via-3", via_3()),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    for name in ("videos", "vstar", "images"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    write_videos(FOLDER)
    write_annotations(ANNOTATIONS)


if __name__ == "__main__":
    main()
