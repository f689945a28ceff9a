"""A completion while it is being written: what of it is final, and how people read it in a terminal.

<obj>red cup</obj><box>[120,300,480,660]</box>at<t>2.5</t>s   ->   red cup [77,144,307,317] at 2.5 s
"""

from __future__ import annotations

import re

from openo3.core.evidence import CLAIM, Claim, split_evidence
from openo3.core.geometry import BoxSpace, pixels

_TAG = re.compile(r"</?(?:think|answer|obj|box|t)>")
_OPEN = re.compile(r"(?:<t>[^<]*(?:</t>)?(?:<[^>]*)?|<[^>]*)$")  # a time or a tag that may still grow
_GOES_ON = ("<box>", "at<t>")
_LONGEST_CLAIM = 400  # characters; what is longer is broken and is shown as it is


def printable(text: str) -> str:
    """Remove control characters, which a terminal would interpret."""
    return "".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text)


def without_tags(text: str) -> str:
    """The words without the grammar's tags, those of unreadable claims too."""
    return _TAG.sub("", text)


def readable(text: str, space: BoxSpace, size: tuple[int, int]) -> str:
    """Model text without tags: boxes of `space` in pixels of a frame of `size` `(W, H)`, times in s."""

    def said(piece: str | Claim | float) -> str:
        if isinstance(piece, str):
            return without_tags(piece)
        if not isinstance(piece, Claim):
            return f"{piece:g} s"
        boxes = (pixels(size).scaled(box) for box in piece.boxes)
        listed = "".join(f" [{','.join(f'{value:.0f}' for value in box)}]" for box in boxes)
        return f"{piece.name}{listed}" + ("" if piece.time_s is None else f" at {piece.time_s:g} s")

    return printable("".join(map(said, split_evidence(text, space))))


def written_so_far(text: str) -> tuple[str, str]:
    """The final parts of reasoning and answer in a growing completion: claims, times and tags are whole.

    >>> written_so_far("<think>A <obj>cup</obj><box>[1,2"), written_so_far("<think>A cup</think><answer>re")
    (('A ', ''), ('A cup', 're'))
    """
    before, closed, after = text.partition("</think>")
    start, opened, reasoning = before.partition("<think>")
    if not opened and not closed:
        return "", _settled(start.partition("<answer>")[2] or start)
    if not closed:
        return _settled(reasoning), ""
    answer, ended, _ = after.partition("<answer>")[2].partition("</answer>")
    return reasoning if opened else start, answer if ended else _settled(answer)


class Transcript:
    """Turns a growing completion into the pieces to print next.

    A claim comes as a whole, once it is closed. The answer is left to the caller.
    """

    def __init__(self, space: BoxSpace, size: tuple[int, int]) -> None:
        self.space, self.size, self.shown = space, size, ""

    def grow(self, text: str) -> str:
        """What is new and readable in the reasoning of `text`, the completion so far."""
        reasoning, _ = written_so_far(text)
        shown = readable(reasoning, self.space, self.size)
        if not shown.startswith(self.shown):
            return ""
        new, self.shown = shown[len(self.shown) :], shown
        return new


def _settled(text: str) -> str:
    """What is final of a growing text: all before a claim, a time or a tag that is still open."""
    start = text.rfind("<obj>")
    if start >= 0 and len(text) - start < _LONGEST_CLAIM:
        claim = CLAIM.match(text, start)
        rest = text[claim.end() :] if claim else ""
        timed = claim is not None and claim[3] is not None
        if not timed and (not claim or any(rest[:5] == more[: len(rest[:5])] for more in _GOES_ON)):
            return text[:start]
    found = _OPEN.search(text, start + 5 if start >= 0 else 0)
    return text[: found.start()] if found and not text.endswith("</t>s") else text
