"""CVAT for video 1.1: one XML file for the tracks of a task, a job or all tasks of a project.

    <annotations><version>1.1</version>
      <meta><task><size>100</size><original_size><width>320</width><height>180</height></original_size>
        <source>clip.mp4</source></task></meta>
      <track id="0" label="ball">
        <box frame="0" keyframe="1" outside="0" occluded="0" xtl="32" ytl="36" xbr="96" ybr="72"/> ...

Frames are those of the video, whatever part of it or step the task has; a box that is `outside` is out of
view. CVAT writes the boxes between key frames too. Where another program does not, they are on a straight
line.

A file may come from anywhere: it is read element by element, and one with a DTD or entities is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError, SubElement

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.conversion.media import MediaFolder, Medium
from openo3.conversion.tracks import (
    MAX_KEYS,
    Clip,
    ConversionError,
    Key,
    Track,
    check_size,
    hull,
    in_frame,
    known_size,
    object_name,
    place,
    track,
    turned,
)
from openo3.files.artifacts import atomic_file

SIDES = ("xtl", "ytl", "xbr", "ybr")
_DIGITS = 6  # of a pixel, when boxes are written
_OUTLINED = ("polygon", "polyline")
_LEFT_OUT = ("points", "cuboid", "ellipse", "mask", "skeleton")


@dataclass(frozen=True)
class _Task:
    names: tuple[str | None, ...]
    size: tuple[int, int] | None


def read(file: Path, media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    """A clip for each task that has tracks, in the order of the file.

    Raises `ConversionError` for a file that is no CVAT for video 1.1, and for the first value in it that
    cannot be used.
    """
    check_size(file)
    tasks: dict[str | None, _Task] = {}
    clips: dict[str, tuple[Medium, list[Track]]] = {}
    keys = 0
    for element in _elements(file):
        if element.tag == "meta":
            tasks = _tasks(file, element)
            continue
        where = f"track {element.get('id', '?')}"
        task = tasks.get(element.get("task_id"), next(iter(tasks.values()), _Task((), None)))
        medium = media.video((*task.names, file.with_suffix("").name), task.size)
        _, tracks = clips.setdefault(medium.path, (medium, []))
        with place(file, where):
            name = object_name(element.get("label"), "label")
        found = list(_keys(file, where, element, medium, task.size or medium.size, notes))
        keys += len(found)
        if keys > MAX_KEYS:
            raise ConversionError(f"{file}: more than {MAX_KEYS:,} boxes; split it")
        with place(file, where):
            if found:
                tracks.append(track(name, found))
    return [Clip(m.path, m.size, m.timeline, tuple(tracks)) for m, tracks in clips.values()]


def _elements(file: Path) -> Iterator[Element]:
    """`meta` and each `track`, each dropped when the next one is asked for."""
    root: Element | None = None
    depth = 0
    event: str
    element: Element
    try:
        for event, element in iterparse(file, events=("start", "end"), forbid_dtd=True):
            depth += 1 if event == "start" else -1
            if event == "start":
                if root is None:
                    root = element
                    if root.tag != "annotations":
                        raise ConversionError(
                            f"{file}: not CVAT's XML, it begins with <{str(root.tag)[:40]}>"
                        )
                elif depth > 60:
                    raise ConversionError(f"{file}: elements are nested {depth} deep")
                elif element.tag == "image" and depth == 2:
                    raise ConversionError(
                        f"{file}: is CVAT for images; export the task as 'CVAT for video 1.1'"
                    )
            elif depth == 1 and root is not None:
                if element.tag in ("meta", "track"):
                    yield element
                root.clear()
    except ConversionError:
        raise
    except DefusedXmlException:
        raise ConversionError(
            f"{file}: has a DTD or entities, which CVAT never writes; it is not read"
        ) from None
    except (ParseError, ValueError) as error:
        raise ConversionError(f"{file}: not well-formed XML: {error}") from None
    if root is None:
        raise ConversionError(f"{file}: is empty")


def _tasks(file: Path, meta: Element) -> dict[str | None, _Task]:
    """The tasks by their id; that of a file about one task or job also by None."""
    found = meta.findall("task") or meta.findall("job") or meta.findall("project/tasks/task")
    tasks: dict[str | None, _Task] = {}
    for task in found or [meta]:
        names = (task.findtext("source"), meta.findtext("source"), task.findtext("name"))
        sizes = [task.find("original_size"), meta.find("original_size")]
        size = next((each for each in sizes if each is not None), None)
        with place(file, "meta", "original_size"):
            tasks[task.findtext("id")] = _Task(names, None if size is None else _size(size))
    return tasks if len(tasks) > 1 else {None: next(iter(tasks.values()))}


def _size(size: Element) -> tuple[int, int]:
    return rows.size([_number(size.findtext(side), side) for side in ("width", "height")], "size")


def _keys(
    file: Path, where: str, element: Element, medium: Medium, size: tuple[int, int], notes: Counter[str]
) -> Iterator[Key]:
    assert medium.timeline is not None
    for number, shape in enumerate(element):
        if shape.tag in _LEFT_OUT:
            notes[f"{shape.tag}: CVAT shapes that are no boxes, left out"] += 1
            continue
        if shape.tag not in ("box", *_OUTLINED):
            continue
        with place(file, where, f"{shape.tag} {number}"):
            frame = rows.integer(_number(shape.get("frame"), "frame"), "frame")
            shown, drawn = not _flag(shape, "outside", "0"), _flag(shape, "keyframe", "1")
            corners = _outline(shape, notes) if shape.tag in _OUTLINED else _corners(shape)
            time_s = medium.timeline.time_s(frame)
            if shown and medium.timeline.frames == frame:
                raise RowError(Reason.KEY_TIME, "frame", f"frame {frame} of {frame}, they are counted from 0")
            box = in_frame(corners, size, notes if shown else Counter())
        if box is not None:
            yield Key(frame, time_s, box, shown, continues=shown, drawn=drawn)
        elif not shown:
            yield Key(frame, time_s, (0.0, 0.0, 0.0, 0.0), shown=False)


def _corners(shape: Element) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (_number(shape.get(side), side) for side in SIDES)
    degrees = _number(shape.get("rotation", "0"), "rotation")
    return turned((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))


def _outline(shape: Element, notes: Counter[str]) -> tuple[float, float, float, float]:
    pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";")]
    if not all(len(pair) == 2 for pair in pairs):
        raise RowError(Reason.WRONG_TYPE, "points", f"found {rows.shown(shape.get('points'))}")
    notes["polygons, of which the box around them is taken"] += 1
    return hull([(_number(x, "points"), _number(y, "points")) for x, y in pairs])


def _number(text: str | None, field: str) -> float:
    """A number of an attribute. Raises `RowError`."""
    if text is None:
        raise RowError(Reason.FIELD_MISSING, field, "absent")
    if not re.fullmatch(r"\s*[-+]?(\d{1,15}(\.\d{0,20})?|\.\d{1,20})([eE][-+]?\d{1,2})?\s*", text, re.ASCII):
        raise RowError(Reason.WRONG_TYPE, field, f"expected a number, found {rows.shown(text)}")
    return rows.number(float(text), field)


def _flag(shape: Element, name: str, default: str) -> bool:
    value = shape.get(name, default)
    if value not in ("0", "1"):
        raise RowError(Reason.WRONG_TYPE, name, f"expected 0 or 1, found {rows.shown(value)}")
    return value == "1"


def write(file: Path, clips: Sequence[Clip], notes: Counter[str]) -> list[Path]:
    """One file for the tracks of one video; for those of several `file` is a folder, with one for each.

    Key frames of records are single moments: after each the object is `outside` until the next.
    """
    videos: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.is_image:
            notes["records about images, left out: CVAT for video has none"] += 1
        else:
            videos.setdefault(clip.path, []).append(clip)
    if not videos:
        raise ConversionError(f"{file}: there is no video to write")
    for clip in clips:
        lost = [name for name in ("question", "answer", "reasoning_process") if clip.record.get(name)]
        if lost and not clip.is_image:
            notes[f"records whose {', '.join(lost)} CVAT cannot hold; keep the STGR file"] += 1
    if len(videos) == 1:
        targets = dict.fromkeys(videos, file)
    else:
        targets = {path: file / f"{path.replace('/', '-')}.xml" for path in videos}
    trees = [ElementTree.ElementTree(_annotations(path, about, notes)) for path, about in videos.items()]
    for target, tree in zip(targets.values(), trees, strict=True):
        ElementTree.indent(tree)
        with atomic_file(target) as part:  # makes the folder too
            tree.write(part, encoding="utf-8", xml_declaration=True)
    return list(targets.values())


def _annotations(path: str, clips: Sequence[Clip], notes: Counter[str]) -> Element:
    timeline, (width, height) = clips[0].timeline, known_size(clips[0])
    assert timeline is not None
    tracks = [each for clip in clips for each in clip.tracks]
    last = max((key.frame for each in tracks for key in each.keys), default=0)
    frames = timeline.frames or last + 2
    root = Element("annotations")
    _texts(root, {"version": "1.1"})
    task = SubElement(SubElement(root, "meta"), "task")
    _texts(task, {"name": path, "size": frames, "mode": "interpolation", "overlap": 0})
    _texts(task, {"start_frame": 0, "stop_frame": frames - 1})
    labels = SubElement(task, "labels")
    for name in dict.fromkeys(each.name for each in tracks):
        label = SubElement(labels, "label")
        _texts(label, {"name": name, "type": "rectangle"})
        SubElement(label, "attributes")
    _texts(SubElement(task, "original_size"), {"width": width, "height": height})
    _texts(task, {"source": path})
    for number, each in enumerate(tracks):
        element = SubElement(root, "track", id=str(number), label=each.name, source="manual")
        _boxes(element, each, (width, height), frames)
        moved = sum(abs(key.time_s - timeline.time_s(key.frame)) > 1e-6 for key in each.keys)
        if moved:
            notes["times moved to the start of their frame, which is all that CVAT keeps"] += moved
    return root


def _boxes(element: Element, each: Track, size: tuple[int, int], frames: int) -> None:
    following = [*(key.frame for key in each.keys[1:]), frames]
    for key, after in zip(each.keys, following, strict=True):
        _box(element, key, key.frame, size, outside=not key.shown)
        if key.shown and not key.continues and key.frame + 1 < after:
            _box(element, key, key.frame + 1, size, outside=True)


def _box(element: Element, key: Key, frame: int, size: tuple[int, int], outside: bool) -> None:
    sides = (f"{value * side:.{_DIGITS}f}" for value, side in zip(key.box, size * 2, strict=True))
    flags = {"frame": frame, "keyframe": int(key.drawn or outside), "outside": int(outside), "occluded": 0}
    attributes = {name: str(value) for name, value in flags.items()}
    SubElement(element, "box", attributes | dict(zip(SIDES, sides, strict=True)) | {"z_order": "0"})


def _texts(parent: Element, texts: Mapping[str, object]) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = str(text)
