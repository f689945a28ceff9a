"""Label Studio's JSON: tasks with videos or images, each with the newest annotation of a person.

    [{"data": {"video": "/data/local-files/?d=clip.mp4", "fps": 25}, "annotations": [{"result": [
      {"id": "a", "from_name": "box", "to_name": "video", "type": "videorectangle", "value": {
        "framesCount": 100, "duration": 4.0, "labels": ["ball"], "sequence": [
          {"frame": 1, "time": 0.04, "enabled": true, "x": 10, "y": 20, "width": 20, "height": 20}]}},
      {"from_name": "question", "type": "textarea", "value": {"text": ["Where is the ball?"]}}
    ]}]}]

Boxes are in percent of the frame. Frames are counted from 1, at the `frameRate` of the labelling
configuration (24 unless it says otherwise), which need not be that of the video. An object is on a straight
line between two key frames while `enabled` is true, and leaves after one where it is false.

Texts and choices are taken from controls named question, answer, reasoning and task, or from fields of these
names in `data`. What `write` writes has the whole record in `data.stgr`, so that nothing is lost on the way
there and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from openo3.annotations import rows, stgr
from openo3.annotations.rejections import Reason, RowError
from openo3.conversion.media import MediaFolder, Medium
from openo3.conversion.tracks import (
    MAX_KEYS,
    UNKNOWN,
    Clip,
    ConversionError,
    Key,
    NamedSpan,
    Timeline,
    Track,
    in_frame,
    object_name,
    place,
    read_json,
    track,
    turned,
)
from openo3.core.schema import STGR_TASKS
from openo3.files.artifacts import atomic_file, write_json
from openo3.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

TEXTS = {
    "question": "question",
    "answer": "answer",
    "reasoning": "reasoning_process",
    "reasoning_process": "reasoning_process",
    "task": "task",
}
"""Fields of a record by the name of the control that they are entered in."""

LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files of its own machine from."""

_SAME_RATE = 0.01  # of two rates: Label Studio rounds
_MAY_BE_MORE = 2  # frames that a browser counts beyond those of the video


@dataclass
class _Found:
    """What the results of one annotation say."""

    tracks: list[Track] = field(default_factory=list)
    spans: list[NamedSpan] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def read(file: Path, media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    """A clip for each annotated task.

    Raises `ConversionError` for a file that is no export in the format JSON, and for the first value in it
    that cannot be used.
    """
    tasks = read_json(file)
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    if not isinstance(tasks, list):
        raise ConversionError(f"{file}: not a list of Label Studio's tasks")
    clips, keys = [], 0
    for number, task in enumerate(tasks):
        with place(file, f"task {number}"):
            if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                raise RowError(Reason.FIELD_MISSING, "data", "export as JSON, not as JSON-MIN")
            results = _results(task, notes)
            if results is None:
                notes["tasks without an annotation, left out"] += 1
                continue
            clip = _clip(task["data"], results, media, notes)
        keys += sum(len(each.keys) for each in clip.tracks)
        if keys > MAX_KEYS:
            raise ConversionError(f"{file}: more than {MAX_KEYS:,} boxes; split it")
        clips.append(clip)
    return clips


def _results(task: Mapping[str, Any], notes: Counter[str]) -> list[Any] | None:
    """Of the newest annotation that was not skipped, else of the newest prediction; None without any."""
    annotations = [
        rows.mapping(each, "annotations") for each in rows.listed(task.get("annotations"), "annotations")
    ]
    kept = [each for each in annotations if not each.get("was_cancelled")]
    if len(kept) > 1:
        notes["tasks with several annotations, of which the newest is taken"] += 1
    if not kept:
        kept = [
            rows.mapping(each, "predictions") for each in rows.listed(task.get("predictions"), "predictions")
        ]
        notes["tasks with predictions alone, which are taken"] += bool(kept)
    if not kept:
        return None
    newest = max(kept, key=lambda each: str(each.get("updated_at") or each.get("created_at") or ""))
    return rows.listed(newest.get("result"), "result")


def _clip(data: Mapping[str, Any], results: list[Any], media: MediaFolder, notes: Counter[str]) -> Clip:
    record = _record(rows.mapping(data.get("stgr"), "data.stgr"))
    kind, address = _address(data)
    named = [rows.mapping(result, "result") for result in results]
    labels = {result.get("id"): _labels(result) for result in named if isinstance(result.get("id"), str)}
    rate = _rate(named, data)
    if kind == "image":
        sides = ([each.get("original_width"), each.get("original_height")] for each in named)
        size = next((rows.size(each, "original_width") for each in sides if all(each)), None)
        medium = media.image([address], size)
    else:
        medium = media.video([address], UNKNOWN, rate)
    found = _Found()
    for number, result in enumerate(named):
        with _numbered(number):
            _add(found, result, labels, medium, rate, notes)
    for name, text in data.items():
        if name in TEXTS and isinstance(text, str) and not record.get(TEXTS[name]):
            record[TEXTS[name]] = rows.check_text(text, f"data.{name}")
    record |= found.texts
    return Clip(medium.path, medium.size, medium.timeline, tuple(found.tracks), tuple(found.spans), record)


def _record(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The record that `write` put there. Raises `RowError` if it has been damaged since."""
    stgr.key_frames(raw)
    stgr.key_items(raw)
    stgr.image_size(raw)
    for name in TEXTS.values():
        if raw.get(name) is not None:
            rows.text(raw, name)
    return dict(raw)


@contextmanager
def _numbered(number: int) -> Iterator[None]:
    """Put the number of a result before the field of a `RowError`."""
    try:
        yield
    except RowError as error:
        raise RowError(error.reason, f"result[{number}].{error.field}", error.detail) from None


def _address(data: Mapping[str, Any]) -> tuple[str, str]:
    """`image` or `video`, and the address of the task's file."""
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    for kind in ("video", "image"):
        if texts.get(kind):
            return kind, texts[kind]
    for value in texts.values():
        plain = value.split("?")[0].lower()
        for kind, suffixes in (("video", VIDEO_SUFFIXES), ("image", IMAGE_SUFFIXES)):
            if plain.endswith(suffixes) or value.lower().endswith(suffixes):
                return kind, value
    raise RowError(Reason.FIELD_MISSING, "data", "no video or image")


def _rate(results: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> float | None:
    """Frames a second that Label Studio counted: its own times are `frame / rate`."""
    for result in results:
        value = rows.mapping(result.get("value"), "value")
        for key in rows.listed(value.get("sequence"), "sequence"):
            if isinstance(key, dict) and key.get("time") and key.get("frame"):
                frame, time_s = rows.number(key["frame"], "frame"), rows.number(key["time"], "time")
                if frame > 0 and time_s > 0:
                    return frame / time_s
        if value.get("framesCount") and value.get("duration"):
            frames = rows.number(value["framesCount"], "framesCount")
            seconds = rows.number(value["duration"], "duration")
            if frames > 0 and seconds > 0:
                return frames / seconds
    fps = data.get("fps")
    return float(fps) if isinstance(fps, int | float) and 0 < fps < 1e6 else None


def _labels(result: Mapping[str, Any]) -> str | None:
    value = result.get("value")
    for name in ("labels", "rectanglelabels", "timelinelabels"):
        found = value.get(name) if isinstance(value, dict) else None
        if isinstance(found, list) and found and isinstance(found[0], str):
            return found[0]
    return None


def _add(
    found: _Found,
    result: Mapping[str, Any],
    labels: Mapping[Any, str | None],
    medium: Medium,
    rate: float | None,
    notes: Counter[str],
) -> None:
    kind, value = result.get("type"), rows.mapping(result.get("value"), "value")
    role = TEXTS.get(str(result.get("from_name")).lower())
    match kind:
        case "videorectangle":
            name = object_name(_labels(result) or labels.get(result.get("id")), "labels")
            sequence = rows.listed(value.get("sequence"), "sequence")
            keys = [_key(rows.mapping(key, "sequence"), value, medium, rate, notes) for key in sequence]
            if found_keys := [key for key in keys if key is not None]:
                found.tracks.append(track(name, found_keys))
        case "rectanglelabels" | "rectangle":
            name = object_name(_labels(result) or labels.get(result.get("id")), "rectanglelabels")
            box = in_frame(_corners(value, medium.size), (100, 100), notes)
            if box is not None:
                found.tracks.append(Track(name, (Key(0, 0.0, box),)))
        case "timelinelabels":
            for part in rows.listed(value.get("ranges"), "ranges"):
                part = rows.mapping(part, "ranges")
                start, end = (_moment(part, side, value, medium, rate)[1] for side in ("start", "end"))
                found.spans.append(NamedSpan(object_name(_labels(result), "timelinelabels"), start, end))
        case "textarea" | "choices" if role:
            texts = rows.listed(value.get("text" if kind == "textarea" else "choices"), str(kind))
            if not all(isinstance(text, str) for text in texts):
                raise RowError(Reason.WRONG_TYPE, str(kind), rows.shown(texts))
            if texts:
                found.texts[role] = rows.check_text("\n".join(texts), role)
        case "labels":
            pass  # names a region of the same id
        case _:
            notes[
                f"results of the type {rows.shown(kind)} from {rows.shown(result.get('from_name'))}, left out"
            ] += 1


def _key(
    key: Mapping[str, Any], value: Mapping[str, Any], medium: Medium, rate: float | None, notes: Counter[str]
) -> Key | None:
    frame, time_s = _moment(key, "frame", value, medium, rate)
    box = in_frame(_corners(key, medium.size), (100, 100), notes)
    if box is None:
        return None
    return Key(frame, time_s, box, continues=key.get("enabled", True) is not False)


def _moment(
    key: Mapping[str, Any], name: str, value: Mapping[str, Any], medium: Medium, rate: float | None
) -> tuple[int, float]:
    """The frame, from 0, and its time in seconds, of a frame number from 1.

    If Label Studio counted the video's own frames, the number is that of a frame. Else it stands for a time.
    """
    timeline = medium.timeline
    if timeline is None:
        raise RowError(Reason.WRONG_TYPE, name, "a moment in an image")
    number = rows.integer(key.get(name), name) - 1
    if number < 0:
        raise RowError(Reason.WRONG_TYPE, name, "frames are counted from 1")
    if timeline.frames is not None and not _counts_frames(value, timeline, rate):
        number = timeline.frame(number / (rate or 24))
    elif timeline.frames is not None and timeline.frames <= number <= timeline.frames + _MAY_BE_MORE:
        number = timeline.frames - 1
    return number, timeline.time_s(number)


def _counts_frames(value: Mapping[str, Any], timeline: Timeline, rate: float | None) -> bool:
    counted = value.get("framesCount")
    if isinstance(counted, int | float) and timeline.frames is not None:
        return abs(counted - timeline.frames) <= _MAY_BE_MORE
    return rate is None or abs(rate * timeline.step_s - 1) <= _SAME_RATE


def _corners(value: Mapping[str, Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """In percent. Label Studio turns a box about its upper left corner, in pixels of the frame."""
    x, y, width, height = (rows.number(value.get(name), name) for name in ("x", "y", "width", "height"))
    degrees = rows.number(value.get("rotation") or 0, "rotation")
    if not degrees % 360:
        return x, y, x + width, y + height
    across, down = size if size != UNKNOWN else (1, 1)
    x1, y1, x2, y2 = turned(
        (x * across, y * down, (x + width) * across, (y + height) * down), degrees, (x * across, y * down)
    )
    return x1 / across, y1 / down, x2 / across, y2 / down


def write(file: Path, clips: Sequence[Clip], notes: Counter[str]) -> list[Path]:
    """Tasks of videos, and of images in a file of their own, since a project has one labelling configuration.

    Beside each file is that configuration, with the names of the objects.
    """
    files: dict[Path, tuple[list[Any], Element]] = {}
    kinds = {
        kind: [clip for clip in clips if clip.is_image == (kind == "image")] for kind in ("video", "image")
    }
    for kind, about in kinds.items():
        apart = kind == "image" and kinds["video"]
        target = file.with_name(f"{file.stem}-images{file.suffix}") if apart else file
        if about:
            tasks = [_task(clip, kind, number) for number, clip in enumerate(about, start=1)]
            files[target] = tasks, _configuration(about, kind)
    written = []
    for target, (tasks, configuration) in files.items():
        tree = ElementTree.ElementTree(configuration)
        ElementTree.indent(tree)
        with atomic_file(target.with_suffix(".xml")) as part:
            tree.write(part, encoding="utf-8")
        write_json(target, tasks)
        written += [target, target.with_suffix(".xml")]
    return written


def _task(clip: Clip, kind: str, number: int) -> dict[str, Any]:
    data: dict[str, Any] = {kind: f"{LOCAL_FILES}{quote(clip.path)}"}
    fps = 0.0
    if clip.timeline:
        data["fps"] = fps = round(1 / clip.timeline.step_s, 6)
    if clip.record:
        data["stgr"] = dict(clip.record)
    results = [
        _region(clip, each, f"{number}-{index}", fps) for index, each in enumerate(clip.tracks, start=1)
    ]
    for name in ("question", "answer", "reasoning"):
        if text := clip.record.get(TEXTS[name]):
            results.append(_entered(f"{number}-{name}", name, kind, "textarea", {"text": [text]}))
    if task := clip.record.get("task"):
        results.append(_entered(f"{number}-task", "task", kind, "choices", {"choices": [task]}))
    return {"data": data, "annotations": [{"result": results}]}


def _entered(id: str, name: str, kind: str, type: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "from_name": name, "to_name": kind, "type": type, "value": value}


def _region(clip: Clip, each: Track, id: str, fps: float) -> dict[str, Any]:
    if clip.timeline is None:
        width, height = clip.size
        value = {**_percent(each.keys[0]), "rotation": 0, "rectanglelabels": [each.name]}
        size = {"original_width": width, "original_height": height, "image_rotation": 0}
        return _entered(id, "object", "image", "rectanglelabels", value) | size
    sequence = [
        {
            "frame": key.frame + 1,
            "time": (key.frame + 1) / fps,
            "enabled": key.continues,
            "rotation": 0,
            **_percent(key),
        }
        for key in _enabled(each)
    ]
    frames = clip.timeline.frames or max(key["frame"] for key in sequence)
    value = {"framesCount": frames, "duration": clip.timeline.end_s or frames / fps, "sequence": sequence}
    return _entered(id, "box", "video", "videorectangle", {**value, "labels": [each.name]})


def _enabled(each: Track) -> Iterator[Key]:
    """The keys at which the object is in view; it leaves after one that does not continue."""
    following = [*each.keys[1:], None]
    for key, after in zip(each.keys, following, strict=True):
        if not key.shown:
            continue
        if after is None or after.shown or not key.continues:
            yield key
            continue
        last = after.frame - 1
        if last > key.frame and (box := each.at(last)) is not None:
            yield key
            key = Key(last, key.time_s, box)
        yield Key(key.frame, key.time_s, key.box, continues=False)


def _percent(key: Key) -> dict[str, float]:
    x1, y1, x2, y2 = key.box
    sides = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    return {name: round(100 * side, 9) for name, side in sides.items()}


def _configuration(clips: Sequence[Clip], kind: str) -> Element:
    """The labelling configuration: boxes with the names of all objects, and a control for each text."""
    names = dict.fromkeys(each.name for clip in clips for each in clip.tracks) or {"object": None}
    view = Element("View")
    if kind == "video":
        labels = SubElement(view, "Labels", name="label", toName="video", allowEmpty="false")
        SubElement(view, "Video", name="video", value="$video", frameRate="$fps")
        SubElement(view, "VideoRectangle", name="box", toName="video")
    else:
        SubElement(view, "Image", name="image", value="$image")
        labels = SubElement(view, "RectangleLabels", name="object", toName="image")
    for name in names:
        SubElement(labels, "Label", value=name)
    for name in ("question", "answer", "reasoning"):
        SubElement(view, "Header", value=name.capitalize())
        SubElement(view, "TextArea", name=name, toName=kind, editable="true", maxSubmissions="1", rows="2")
    choices = SubElement(view, "Choices", name="task", toName=kind, choice="single", showInline="true")
    for task in STGR_TASKS:
        SubElement(choices, "Choice", value=str(task))
    return view
