"""COCO with videos, in the three forms that are published.

TAO and CocoVID have a box for each image of a video, YouTube-VIS a list of boxes for each object:

    {"videos": [{"id": 1, "name": "clip", "width": 320, "height": 180, "fps": 25}],
     "images": [{"id": 7, "video_id": 1, "file_name": "clip/000050.jpg", "frame_index": 50}],
     "annotations": [{"id": 3, "image_id": 7, "track_id": 1, "category_id": 2, "bbox": [32, 36, 64, 36]}],
     "categories": [{"id": 2, "name": "ball"}]}

    {"videos": [{"id": 1, "file_names": ["clip/00000.jpg", "clip/00005.jpg"], "width": 320, "height": 180}],
     "annotations": [{"id": 3, "video_id": 1, "category_id": 2, "bboxes": [[32, 36, 64, 36], null]}], ...}

A box is `[x, y, width, height]` in pixels. The number of a frame is `frame_index` or `frame_id`, else the
digits at the end of the image's name. An object that has a box on two annotated images of a video in a row
was in view in between. Images without a video are images of their own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.conversion.media import MediaFolder, Medium
from openo3.conversion.tracks import (
    MAX_KEYS,
    Clip,
    ConversionError,
    Key,
    Track,
    in_frame,
    known_size,
    object_name,
    place,
    read_json,
    track,
)
from openo3.core.schema import Box
from openo3.files.artifacts import write_json

_TRACK_IDS = ("track_id", "instance_id", "object_id")
_FRAME_NUMBERS = ("frame_index", "frame_id")
_NUMBER_AT_THE_END = re.compile(r"(\d{1,9})$", re.ASCII)


@dataclass
class _Video:
    """`times_s` are those of frames that the file itself times; `frames` all that are annotated."""

    medium: Medium
    size: tuple[int, int]
    frames: set[int] = field(default_factory=set)
    times_s: dict[int, float] = field(default_factory=dict)
    boxes: dict[Hashable, dict[int, Box]] = field(default_factory=lambda: defaultdict(dict))
    names: dict[Hashable, str] = field(default_factory=dict)

    def time_s(self, frame: int) -> float:
        assert self.medium.timeline is not None
        return self.times_s[frame] if frame in self.times_s else self.medium.timeline.time_s(frame)

    def clip(self) -> Clip:
        following = dict(zip(sorted(self.frames), sorted(self.frames)[1:], strict=False))
        tracks = []
        for one, boxes in self.boxes.items():
            keys = [
                Key(frame, self.time_s(frame), box, continues=following.get(frame) in boxes)
                for frame, box in boxes.items()
            ]
            tracks.append(track(self.names[one], keys))
        return Clip(self.medium.path, self.medium.size, self.medium.timeline, tuple(tracks))


def read(file: Path, media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    """A clip for each video and for each image without one, if anything is annotated there.

    Raises `ConversionError` for the first part of the file that cannot be used.
    """
    data = read_json(file)
    if isinstance(data, dict) and "sequences" in data:
        raise ConversionError(f"{file}: BURST's form has masks and no boxes; convert it to TAO's first")
    if not isinstance(data, dict) or "annotations" not in data or "categories" not in data:
        raise ConversionError(f"{file}: not COCO, which is an object with annotations and categories")
    if len(_list(file, data, "annotations")) > MAX_KEYS:
        raise ConversionError(f"{file}: more than {MAX_KEYS:,} annotations; split it")
    names = {}
    for number, category in enumerate(_list(file, data, "categories")):
        with place(file, f"categories[{number}]"):
            names[_id(category, "id")] = object_name(rows.record(category).get("name"), "name")
    described, images = _by_id(file, data, "videos"), _by_id(file, data, "images")
    of_video: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for key, image in images.items():
        with place(file, f"image {key}"):
            of_video[_id(image, "video_id") if image.get("video_id") is not None else None].append(image)
    videos: dict[Any, _Video] = {}
    pictures: dict[Any, list[tuple[str, Box]]] = defaultdict(list)

    def video(key: Any) -> _Video:
        if key not in described:
            raise RowError(Reason.WRONG_TYPE, "video_id", f"no video {rows.shown(key)}")
        if key not in videos:
            videos[key] = _video(described[key], of_video[key], media)
        return videos[key]

    for number, annotation in enumerate(_list(file, data, "annotations")):
        with place(file, f"annotations[{number}]"):
            annotation = rows.record(annotation)
            category = _id(annotation, "category_id")
            if category not in names:
                raise RowError(Reason.WRONG_TYPE, "category_id", f"no category {rows.shown(category)}")
            if annotation.get("iscrowd"):
                notes["crowds, left out"] += 1
            elif "bboxes" in annotation:
                about = video(_id(annotation, "video_id"))
                described_by = described[annotation["video_id"]]
                _add_track(about, annotation, number, names[category], described_by, notes)
            else:
                image_id = _id(annotation, "image_id")
                if image_id not in images:
                    raise RowError(Reason.WRONG_TYPE, "image_id", f"no image {rows.shown(image_id)}")
                image, corners = images[image_id], _corners(annotation.get("bbox"))
                if image.get("video_id") is None:
                    pictures[image_id].append((names[category], corners))
                else:
                    about = video(image["video_id"])
                    one = _object_of(annotation, number, notes)
                    _add_box(about, _frame(image), one, names[category], corners, notes)
    clips = []
    for key, about in videos.items():
        with place(file, f"video {key}"):
            clips.append(about.clip())
    for key, boxes in pictures.items():
        with place(file, f"image {key}"):
            clips.append(_picture(images[key], boxes, media, notes))
    return [clip for clip in clips if clip.tracks]


def _video(described: Mapping[str, Any], images: Sequence[Mapping[str, Any]], media: MediaFolder) -> _Video:
    size = _size(described) or next(filter(None, map(_size, images)), None)
    fps = next((described[name] for name in ("fps", "frame_rate") if described.get(name)), None)
    rate = rows.number(fps, "fps") if fps is not None else None
    if rate is not None and rate <= 0:
        raise RowError(Reason.WRONG_TYPE, "fps", rows.shown(fps))
    found = _Video(media.video(_names(described), size, rate), size or (1, 1))
    found.size = size or found.medium.size
    for image in images:
        frame = _frame(image)
        found.frames.add(frame)
        if image.get("time_s") is not None:
            found.times_s[frame] = rows.number(image["time_s"], "time_s")
    return found


def _names(described: Mapping[str, Any]) -> list[str | None]:
    """What the video's file may be called: frames are often in a folder of its name."""
    frames = described.get("file_names")
    first = frames[0] if isinstance(frames, list) and frames else None
    folder = str(PurePosixPath(first).parent) if isinstance(first, str) else None
    names = [described.get("file_name"), described.get("name"), None if folder == "." else folder]
    return [name for name in names if isinstance(name, str)]


def _object_of(annotation: Mapping[str, Any], number: int, notes: Counter[str]) -> Hashable:
    """What an annotation's track is called: boxes of one object have it in common."""
    for name in filter(annotation.get, _TRACK_IDS):
        return _id(annotation, name)
    if any(annotation.get(name) == 0 for name in _TRACK_IDS):
        return 0
    notes["boxes without a track_id, each an object of its own"] += 1
    return "annotation", number


def _add_box(
    about: _Video,
    frame: int,
    one: Hashable,
    name: str,
    corners: tuple[float, float, float, float],
    notes: Counter[str],
) -> None:
    if (box := in_frame(corners, about.size, notes, "bbox")) is None:
        return
    if frame in about.boxes[one]:
        raise RowError(Reason.KEY_REPEATED, "track_id", f"track {one} has two boxes at frame {frame}")
    about.names.setdefault(one, name)
    about.boxes[one][frame] = box


def _add_track(
    about: _Video,
    annotation: Mapping[str, Any],
    number: int,
    name: str,
    described: Mapping[str, Any],
    notes: Counter[str],
) -> None:
    """The boxes of a YouTube-VIS object, one for each file name of its video."""
    boxes = rows.listed(annotation.get("bboxes"), "bboxes")
    files = rows.listed(described.get("file_names"), "file_names")
    length = len(files) or described.get("length")
    if len(boxes) != length:
        raise RowError(Reason.WRONG_TYPE, "bboxes", f"{len(boxes)} boxes for {length} frames")
    one = ("object", number)
    about.names[one] = name
    for position, box in enumerate(boxes):
        frame = _frame({"file_name": files[position]}) if files else position
        about.frames.add(frame)
        if box is not None and (inside := in_frame(_corners(box), about.size, notes, "bboxes")) is not None:
            about.boxes[one][frame] = inside


def _picture(
    image: Mapping[str, Any],
    boxes: Sequence[tuple[str, tuple[float, float, float, float]]],
    media: MediaFolder,
    notes: Counter[str],
) -> Clip:
    medium = media.image(_names(image), _size(image))
    size = _size(image) or medium.size
    found = ((name, in_frame(corners, size, notes, "bbox")) for name, corners in boxes)
    tracks = tuple(Track(name, (Key(0, 0.0, box),)) for name, box in found if box is not None)
    return Clip(medium.path, medium.size, None, tracks)


def _frame(image: Mapping[str, Any]) -> int:
    """The number of an image's frame in its video, from 0."""
    for name in _FRAME_NUMBERS:
        if image.get(name) is not None:
            return rows.integer(image[name], name)
    stem = PurePosixPath(rows.text(image, "file_name")).stem
    if not (digits := _NUMBER_AT_THE_END.search(stem)):
        raise RowError(Reason.FIELD_MISSING, "frame_index", f"and {rows.shown(stem)} ends with no number")
    return int(digits[1])


def _corners(box: Any) -> tuple[float, float, float, float]:
    x, y, width, height = rows.numbers(box, "bbox", 4)
    if width < 0 or height < 0:
        raise RowError(Reason.BOX_INVERTED, "bbox", rows.shown(box))
    return x, y, x + width, y + height


def _size(described: Mapping[str, Any]) -> tuple[int, int] | None:
    if described.get("width") is None or described.get("height") is None:
        return None
    return rows.size([described["width"], described["height"]], "width, height")


def _id(row: Any, field: str) -> str | int:
    value = rows.record(row).get(field)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(Reason.WRONG_TYPE, field, f"expected a number or name, found {rows.shown(value)}")
    return value


def _list(file: Path, data: Mapping[str, Any], name: str) -> list[Any]:
    with place(file):
        return rows.listed(data.get(name), name)


def _by_id(file: Path, data: Mapping[str, Any], name: str) -> dict[str | int, Mapping[str, Any]]:
    found: dict[str | int, Mapping[str, Any]] = {}
    for number, row in enumerate(_list(file, data, name)):
        with place(file, f"{name}[{number}]"):
            found[_id(row, "id")] = row
    return found


def write(file: Path, clips: Sequence[Clip], notes: Counter[str]) -> list[Path]:
    """Videos with an image for each annotated frame, and pictures as images without a video.

    Besides COCO's own fields, an image has its `time_s`, which `read` takes up again.
    """
    numbers: Counter[str] = Counter()

    def following(kind: str) -> int:
        numbers[kind] += 1
        return numbers[kind]

    categories: dict[str, int] = {}
    found: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("videos", "images", "annotations", "tracks")
    }
    videos: dict[str, int] = {}
    images: dict[tuple[str, int], int] = {}
    for clip in clips:
        (width, height), timeline = known_size(clip), clip.timeline
        shape = {"width": width, "height": height}
        if timeline and clip.path not in videos:
            videos[clip.path] = following("video")
            fps = round(1 / timeline.step_s, 6)
            about = {"id": videos[clip.path], "name": clip.path, "file_name": clip.path, **shape, "fps": fps}
            found["videos"].append(about | ({"length": timeline.frames} if timeline.frames else {}))
        for each in clip.tracks:
            category = categories.setdefault(each.name, len(categories) + 1)
            one = following("track")
            if timeline:
                found["tracks"].append({"id": one, "category_id": category, "video_id": videos[clip.path]})
            for key in filter(lambda key: key.shown, each.keys):
                if (clip.path, key.frame) not in images:
                    image = {"id": following("image"), "file_name": clip.path, **shape}
                    if timeline:
                        name = f"{clip.path.rpartition('.')[0]}/{key.frame:06d}.jpg"
                        image |= {"file_name": name, "video_id": videos[clip.path], "frame_index": key.frame}
                        image |= {"frame_id": key.frame, "time_s": key.time_s}
                    images[clip.path, key.frame] = image["id"]
                    found["images"].append(image)
                x1, y1, x2, y2 = (value * side for value, side in zip(key.box, clip.size * 2, strict=True))
                box = [round(side, 6) for side in (x1, y1, x2 - x1, y2 - y1)]
                annotation = {"id": following("annotation"), "image_id": images[clip.path, key.frame]}
                annotation |= {"category_id": category, "bbox": box, "area": round(box[2] * box[3], 6)}
                tracked = (
                    {"video_id": videos[clip.path], "track_id": one, "instance_id": one} if timeline else {}
                )
                found["annotations"].append(annotation | tracked | {"iscrowd": 0})
        if lost := [name for name in ("question", "answer", "reasoning_process") if clip.record.get(name)]:
            notes[f"records whose {', '.join(lost)} COCO cannot hold; keep the STGR file"] += 1
        elif not clip.tracks:
            notes["records without boxes"] += 1
    named = [{"id": number, "name": name} for name, number in categories.items()]
    write_json(file, {"info": {"description": "written by openo3 convert"}, **found, "categories": named})
    return [file]
