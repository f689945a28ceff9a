"""Which span an answer names."""

# ruff: noqa: RUF001 (full-width and other look-alike characters are what models write)

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from openo3.core.evidence import FAR_SECONDS
from openo3.core.geometry import Span
from openo3.core.reading.final import final_answer
from openo3.core.reading.json_values import JsonObject, json_values
from openo3.core.reading.texts import MARKUP, shortened

_UNITS = {
    0.001: r"ms|msecs?|milliseconds?|毫秒|ミリ秒|밀리초|мс",
    1.0: r"seconds?|secs?\.?|s|sekunden?|sek\.?|secondes?|segundos?|segs?\.?|secondi|secondo|"
    r"секунд[аыу]?|сек\.?|с|秒钟|秒鐘|秒|초",
    60.0: r"minutes?|mins?\.?|m|minuten?|minutos?|minuti|minuto|минут[аыу]?|мин\.?|分钟|分鐘|分|분",
    3600.0: r"hours?|hrs?|h|stunden?|heures?|horas?|ore|ora|час(?:а|ов)?|小时|小時|時間|时|시간",
}
_UNIT = "|".join(f"(?P<u{index}>{names})" for index, names in enumerate(_UNITS.values()))
_SCALES = dict(zip((f"u{index}" for index in range(len(_UNITS))), _UNITS, strict=True))
_TIME_TAG = re.compile(r"</?\s{0,4}(?:t|time)\s{0,4}>", re.IGNORECASE)
_CLAIMED = re.compile(r"<obj>[^<]*</obj>(?:\s{0,4}<box>[^<]*</box>){1,64}", re.IGNORECASE)
_JOINED = re.compile(
    r"(?<![A-Za-zÀ-ɏЀ-ӿ])(to|bis|a|à|до|until|till)(?=\s{0,4}\.?[0-9])|(?<=s)(to)(?=\s{0,4}[0-9])",
    re.IGNORECASE,
)
_ATTACHED = re.compile(r"(?<=[0-9])(h|min|m)(?=[0-9])", re.IGNORECASE)  # 1m05s
_DIGITS = r"(?:[0-9]{1,15}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})"
_TIME = re.compile(
    rf"(?<![A-Za-zÀ-ɏЀ-ӿ_.:0-9])(?:(?:(?P<h>[0-9]{{1,9}}):)?(?P<m>[0-9]{{1,9}}):(?P<s>[0-9]{{1,2}}(?:[.,][0-9]{{1,20}})?)"
    rf"|(?P<n>{_DIGITS}(?:e[+-]?[0-9]{{1,2}})?))(?!:?[0-9])"
    rf"(?:\s{{0,3}}(?:{_UNIT})(?![A-Za-zÀ-ɏЀ-ӿ_]))?",
    re.IGNORECASE,
)
_COUNTS = re.compile(
    r"(?:frames?|fps|scenes?|events?|steps?|shots?|clips?|segments?|images?|кадр\w{0,3}|帧|フレーム|프레임|场景|#)\s{0,3}#?\s{0,3}$",
    re.IGNORECASE,
)
_MINUTE_OF = re.compile(r"(?:minutes?|min|minuto|hours?|минута|minuta)\s{1,3}$", re.IGNORECASE)
_NOT_SECONDS = re.compile(
    r"\s{0,3}(?:%|°|px|percent|(?:km|cm|mm|kg|people|persons|men|women|times|years?|dollars|euros?|am|pm)\b|frames?(?![a-z])|fps|x\d|帧|个|個|フレーム|프레임|번째|番目|회)|\.[0-9]|[A-Za-zÀ-ɏЀ-ӿ_]|/\s?[0-9]",
    re.IGNORECASE,
)
_START_KEYS = frozenset(
    [
        "start",
        "start_time",
        "start_s",
        "start_sec",
        "start_second",
        "begin",
        "begin_time",
        "from",
        "t_start",
        "t0",
        "t1",
        "开始",
        "开始时间",
    ]
)
_END_KEYS = frozenset(
    ["end", "end_time", "end_s", "end_sec", "end_second", "stop", "finish", "to", "t_end", "结束", "结束时间"]
)
_DECIMAL_COMMA = re.compile(r"(?<![0-9.,:])([0-9]{1,9}),([0-9]{1,9})(?![0-9:]|[.,][0-9])")
_LENGTH = re.compile(r"(?:\(|\[|（|durations?|lasting|total|length|for|共|持续)[^0-9]{0,24}$", re.IGNORECASE)
_AND = re.compile(r"\s{0,3}(?:and|und|et|y|e|и)?\s{0,3}")
_GAP = re.compile(r"[\s\"'.)\]>–—−-]{0,12}")


def read_times(text: str) -> Span | None:
    """The span `(start_s, end_s)` that an answer names, `None` unless it names exactly two times.

    Numbers are seconds unless they have another unit or are clock times. A length that equals the span, as
    in "5 to 12 (7 seconds)", is left out. The span may be inverted.

    >>> read_times("from 0:05 to 1:10"), read_times("1m 5s - 2 min"), read_times("from 3 to 5 or 9")
    ((5.0, 70.0), (65.0, 120.0), None)
    """
    said = unicodedata.normalize("NFKC", shortened(final_answer(text)))
    for value in json_values(said):
        if span := _span_of_json(value):
            return span
    said = _JOINED.sub(r" \1\2 ", _TIME_TAG.sub(" ", _CLAIMED.sub(" ", MARKUP.sub("", said))))
    said = _ATTACHED.sub(r"\1 ", said)
    pointed = _with_decimal_points(said)
    if pointed is None or (times := _times(pointed)) is None:
        return None
    if len(times) == 3 and _LENGTH.search(pointed[: times[2][1]][-40:]):
        length = times[1][0] - times[0][0]
        times = times[:2] if math.isclose(times[2][0], length, abs_tol=0.051) else times
    if len(times) == 4 and [time[0] for time in times[:2]] == [time[0] for time in times[2:]]:
        times = times[:2]
    return (times[0][0], times[1][0]) if len(times) == 2 else None


def _times(said: str) -> list[tuple[float, int]] | None:
    """Every time with its place, `None` if a number is negative or has a unit that is no time."""
    times: list[tuple[float, int]] = []
    parts: list[tuple[float, float | None, int]] = []  # value, scale, end
    for found in _TIME.finditer(said):
        start, end = found.span()
        before = said[max(start - 24, 0) : start]
        if found["n"] and found.lastgroup == "n" and (odd := _NOT_SECONDS.match(said, end)):
            if odd[0].strip().startswith(("%", "°", "/")) or "percent" in odd[0]:
                return None
            continue  # an ordinal, a count of frames, a number inside a word
        if _COUNTS.search(before):
            continue
        if _MINUTE_OF.search(before) and not (parts and parts[-1][2] > start - 4):
            return None
        if before.rstrip().endswith(("-", "−")):
            last = parts[-1][2] if parts else -1
            if last < 0 or not _GAP.fullmatch(said, last, start):
                return None
        scale = next((_SCALES[name] for name in _SCALES if found[name]), None)
        if found["n"]:
            value = float(found["n"]) * (scale or 1.0)
        else:
            value = int(found["h"] or 0) * 3600 + int(found["m"]) * 60 + float(found["s"].replace(",", "."))
            scale = scale or 1.0
        value = min(round(value, 6) if scale != 1.0 and scale else value, FAR_SECONDS)
        smaller = bool(parts and scale and (parts[-1][1] or 0) > scale >= 1 and found["n"])
        if smaller and _AND.fullmatch(said, parts[-1][2], start):  # 1 minute 5 seconds
            times[-1] = (times[-1][0] + value, times[-1][1])
            parts.append((value, scale, end))
            continue
        times.append((value, start))
        parts.append((value, scale, end))
    if len(times) == len(parts) == 2 and parts[0][1] is None and parts[1][1] not in (None, 1.0):
        times[0] = (times[0][0] * parts[1][1], times[0][1])  # "2 to 3 minutes"
    return times


def _with_decimal_points(said: str) -> str | None:
    """The text with decimal points for decimal commas; `None` where commas may separate thousands."""
    found = _DECIMAL_COMMA.findall(said)
    others = len(re.findall(r"[0-9]+", _DECIMAL_COMMA.sub(" ", said)))
    if not found or len(found) + others != 2:
        return said
    if all(len(part) == 3 for _, part in found):
        return None
    return _DECIMAL_COMMA.sub(r"\1.\2", said)


def _span_of_json(value: Any) -> Span | None:
    if isinstance(value, list) and not isinstance(value, JsonObject):
        return _span_of_json(value[0]) if len(value) == 1 and isinstance(value[0], list) else None
    pairs = {str(key).lower(): item for key, item in value if isinstance(key, str)}
    starts = [_time_of_json(item) for key, item in pairs.items() if key in _START_KEYS]
    ends = [_time_of_json(item) for key, item in pairs.items() if key in _END_KEYS]
    if len(starts) == len(ends) == 1 and starts[0] is not None and ends[0] is not None:
        return starts[0], ends[0]
    return None


def _time_of_json(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return min(float(value), FAR_SECONDS) if 0 <= value < float("inf") else None
    times = _times(unicodedata.normalize("NFKC", value[:100])) if isinstance(value, str) else None
    return times[0][0] if times and len(times) == 1 else None
