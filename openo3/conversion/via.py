"""VGG Image Annotator: projects and exports of VIA 2 (images), projects of VIA 3 (images and videos).

    {"_via_img_metadata": {"cup.jpg81234": {"filename": "cup.jpg", "file_attributes": {}, "regions": [
      {"shape_attributes": {"name": "rect", "x": 32, "y": 36, "width": 64, "height": 36},
       "region_attributes": {"object": "cup"}}]}}}

    {"project": {"data_format_version": "3.1.2", ...}, "config": {...},
     "attribute": {"1": {"aname": "object", "type": 1, "options": {}}},
     "file": {"1": {"fid": "1", "fname": "clip.mp4", "type": 4}}, "view": {"1": {"fid_list": ["1"]}},
     "metadata": {"1_a": {"vid": "1", "z": [2.0], "xy": [2, 32, 36, 64, 36], "av": {"1": "ball"}},
                  "1_b": {"vid": "1", "z": [0.5, 3.0], "xy": [], "av": {"2": "it rolls"}}}}

Boxes are pixels, so the files themselves must be there to know their sizes. Times are in seconds: one for a
box, two for a part of the video. A region is named by its attribute object, name, label, class or type, else
by its only one. Attributes of a file called question and answer are taken as such.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.conversion.media import MediaFolder, Medium
from openo3.conversion.tracks import (
    MAX_KEYS,
    Clip,
    ConversionError,
    Key,
    NamedSpan,
    Track,
    hull,
    in_frame,
    object_name,
    place,
    read_json,
    track,
)
from openo3.core.schema import Box

NAMES = ("object", "name", "label", "class", "type", "category")
"""Attributes that name an object, the likeliest first."""

TEXTS = ("question", "answer")
_SIDE_BY_SIDE = 1000
"""Objects of one name at one time: boxes beyond are objects of their own."""
_RECT, _CIRCLE, _ELLIPSE, _POLYLINE, _POLYGON = 2, 3, 4, 6, 7  # VIA 3's numbers of shapes


def read(file: Path, media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    """A clip for each file that is annotated.

    Raises `ConversionError` for a file of another form, and for the first value in it that cannot be used.
    """
    data = read_json(file)
    if isinstance(data, dict) and isinstance(data.get("metadata"), dict) and "file" in data:
        return _version_3(file, data, media, notes)
    entries = data.get("_via_img_metadata", data) if isinstance(data, dict) else None
    if not isinstance(entries, dict) or not all(
        isinstance(e, dict) and "filename" in e for e in entries.values()
    ):
        raise ConversionError(f"{file}: neither a VIA 2 project or export in JSON nor a VIA 3 project")
    return _version_2(file, entries, media, notes)


def _version_2(file: Path, entries: Mapping[str, Any], media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    clips, count = [], 0
    for name, entry in entries.items():
        with place(file, name[:200]):
            regions = entry.get("regions")
            regions = list(regions.values()) if isinstance(regions, dict) else rows.listed(regions, "regions")
            count += len(regions)
            if not regions:
                continue
            medium = media.image([rows.text(entry, "filename")])
            tracks = []
            for number, region in enumerate(regions):
                region = rows.mapping(region, f"regions[{number}]")
                attributes = rows.mapping(
                    region.get("region_attributes"), f"regions[{number}].region_attributes"
                )
                label = object_name(_label(attributes), f"regions[{number}].region_attributes")
                shape = rows.mapping(region.get("shape_attributes"), f"regions[{number}].shape_attributes")
                if (corners := _shape_2(shape, notes)) and (box := in_frame(corners, medium.size, notes)):
                    tracks.append(Track(label, (Key(0, 0.0, box),)))
            attributes = rows.mapping(entry.get("file_attributes"), "file_attributes")
            texts = {
                each: attributes[each]
                for each in TEXTS
                if isinstance(attributes.get(each), str) and attributes[each]
            }
            clips.append(Clip(medium.path, medium.size, None, tuple(tracks), record=texts))
        if count > MAX_KEYS:
            raise ConversionError(f"{file}: more than {MAX_KEYS:,} regions; split it")
    return clips


def _label(attributes: Mapping[str, Any]) -> Any:
    """The attribute that names the object; of a checkbox the first choice that is set."""
    texts = {name.lower(): value for name, value in attributes.items() if value not in ("", None, {})}
    value = next((texts[name] for name in NAMES if name in texts), None)
    if value is None and len(texts) == 1:
        value = next(iter(texts.values()))
    if isinstance(value, dict):
        value = next((choice for choice, is_set in value.items() if is_set), None)
    return value


def _shape_2(shape: Mapping[str, Any], notes: Counter[str]) -> tuple[float, float, float, float] | None:
    def number(name: str) -> float:
        return rows.number(shape.get(name), name)

    def listed(name: str) -> list[float]:
        return [rows.number(value, name) for value in rows.listed(shape.get(name), name)]

    match shape.get("name"):
        case "rect":
            return number("x"), number("y"), number("x") + number("width"), number("y") + number("height")
        case "polygon" | "polyline":
            points = list(zip(listed("all_points_x"), listed("all_points_y"), strict=False))
            return _around(points, notes)
        case "circle":
            return _around_ellipse(number("cx"), number("cy"), number("r"), number("r"), notes)
        case "ellipse":
            return _around_ellipse(number("cx"), number("cy"), number("rx"), number("ry"), notes)
    notes[f"shapes without an area ({rows.shown(shape.get('name'))}), left out"] += 1
    return None


def _version_3(file: Path, data: Mapping[str, Any], media: MediaFolder, notes: Counter[str]) -> list[Clip]:
    with place(file):
        files, views = (rows.mapping(data.get(name), name) for name in ("file", "view"))
        attributes = rows.mapping(data.get("attribute"), "attribute")
        metadata = rows.mapping(data["metadata"], "metadata")
    if len(metadata) > MAX_KEYS:
        raise ConversionError(f"{file}: more than {MAX_KEYS:,} regions; split it")
    of_view: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for name, entry in metadata.items():
        with place(file, f"metadata.{name[:80]}"):
            of_view[rows.identifier(rows.record(entry), "vid")].append((name, entry))
    clips = []
    for view, entries in of_view.items():
        with place(file, f"view {view[:80]}"):
            described = _file_of(view, views, files)
        medium = _medium(file, described, media)
        keys: dict[str, list[dict[int, Key]]] = defaultdict(list)
        spans: list[NamedSpan] = []
        texts: dict[str, str] = {}
        for name, entry in entries:
            with place(file, f"metadata.{name[:80]}"):
                _add(entry, attributes, medium, keys, spans, texts, notes)
        with place(file, f"view {view[:80]}"):
            tracks = tuple(track(name, list(each.values())) for name, found in keys.items() for each in found)
        clips.append(Clip(medium.path, medium.size, medium.timeline, tracks, tuple(spans), texts))
    return clips


def _file_of(view: str, views: Mapping[str, Any], files: Mapping[str, Any]) -> Mapping[str, Any]:
    listed = rows.listed(rows.mapping(views.get(view), "view").get("fid_list"), "fid_list")
    if len(listed) != 1:
        raise RowError(Reason.WRONG_TYPE, "fid_list", f"expected one file, found {len(listed)}")
    return rows.record(files.get(str(listed[0])))


def _medium(file: Path, described: Mapping[str, Any], media: MediaFolder) -> Medium:
    """The file of a view, which must be there: nothing else tells its size."""
    names = [described.get(name) for name in ("fname", "src") if isinstance(described.get(name), str)]
    if (found := media.find(*names)) is None:
        shown = rows.shown(names[0] if names else None)
        raise ConversionError(
            f"{file}: {shown} is not in {media.folder}, and boxes are pixels; name the folder with --media"
        )
    return found


def _add(
    entry: Mapping[str, Any],
    attributes: Mapping[str, Any],
    medium: Medium,
    keys: dict[str, list[dict[int, Key]]],
    spans: list[NamedSpan],
    texts: dict[str, str],
    notes: Counter[str],
) -> None:
    values = _values(rows.mapping(entry.get("av"), "av"), attributes)
    times = [rows.number(time, "z") for time in rows.listed(entry.get("z"), "z")]
    shape = rows.listed(entry.get("xy"), "xy")
    if not times and not shape:
        texts |= {name: value for name, value in values.items() if name in TEXTS and value}
        return
    if not shape:
        if len(times) >= 2:
            spans.append(NamedSpan(object_name(_label(values), "av"), min(times), max(times)))
        return
    label = object_name(_label(values), "av")
    corners = _shape_3(shape, notes)
    box = in_frame(corners, medium.size, notes) if corners else None
    if box is None:
        return
    if medium.timeline is None:
        keys[label].append({0: Key(0, 0.0, box)})
        return
    if not times:
        raise RowError(Reason.FIELD_MISSING, "z", "the time of a region in a video")
    if medium.timeline.end_s is not None and max(times) > medium.timeline.end_s + 0.5:
        raise RowError(
            Reason.KEY_TIME, "z", f"{max(times):g} s, the video ends at {medium.timeline.end_s:g} s"
        )
    _put(keys[label], _keys(times, box, medium))


def _keys(times: Sequence[float], box: Box, medium: Medium) -> list[Key]:
    """One moment, or the same box from the first time to the last."""
    assert medium.timeline is not None
    start, end = min(times), max(times)
    first, last = medium.timeline.frame(start), medium.timeline.frame(end)
    if last == first:
        return [Key(first, start, box)]
    return [Key(first, start, box, continues=True), Key(last, end, box)]


def _put(tracks: list[dict[int, Key]], keys: Sequence[Key]) -> None:
    """One moment goes into the first object of that name that has no box at its frame."""
    if len(keys) == 1:
        for each in tracks[:_SIDE_BY_SIDE]:
            if keys[0].frame not in each:
                each[keys[0].frame] = keys[0]
                return
    tracks.append({key.frame: key for key in keys})


def _values(values: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, str]:
    """The values of attributes by their names; a choice by what it says and not by its number."""
    found: dict[str, str] = {}
    for key, value in values.items():
        described = rows.mapping(attributes.get(key), f"attribute.{key}")
        name = str(described.get("aname", key)).lower()
        options = described.get("options")
        chosen = options.get(str(value).split(",")[0]) if isinstance(options, dict) else None
        found[name] = str(chosen if isinstance(chosen, str) and chosen else value)
    return found


def _shape_3(shape: Sequence[Any], notes: Counter[str]) -> tuple[float, float, float, float] | None:
    numbers = [rows.number(value, "xy") for value in shape]
    kind, sides = numbers[0], numbers[1:]
    if kind == _RECT and len(sides) == 4:
        x, y, width, height = sides
        return x, y, x + width, y + height
    if kind in (_POLYGON, _POLYLINE) and len(sides) >= 4 and len(sides) % 2 == 0:
        return _around(list(zip(sides[::2], sides[1::2], strict=True)), notes)
    if kind == _CIRCLE and len(sides) == 3:
        return _around_ellipse(sides[0], sides[1], sides[2], sides[2], notes)
    if kind == _ELLIPSE and len(sides) >= 4:
        return _around_ellipse(sides[0], sides[1], sides[2], sides[3], notes)
    notes["shapes without an area, left out"] += 1
    return None


def _around(points: Sequence[tuple[float, float]], notes: Counter[str]) -> tuple[float, float, float, float]:
    if len(points) < 2:
        raise RowError(Reason.WRONG_TYPE, "shape", f"{len(points)} points")
    notes["shapes of which the box around them is taken"] += 1
    return hull(points)


def _around_ellipse(
    x: float, y: float, across: float, down: float, notes: Counter[str]
) -> tuple[float, float, float, float]:
    notes["shapes of which the box around them is taken"] += 1
    return x - across, y - down, x + across, y + down
