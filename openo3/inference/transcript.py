"""A completion as people read it in a terminal, while it is being written.

<obj>red cup</obj><box>[120,300,480,660]</box>at<t>2.5</t>s   ->   red cup [77,144,307,317] at 2.5 s
"""

from __future__ import annotations

import re

from openo3.core.evidence import parse_claims
from openo3.core.geometry import BoxSpace, pixels

_CLAIM = re.compile(r"<obj>[^<]*</obj>(?:<box>[^<]*</box>)+(?:at<t>[^<]*</t>s)?")
_TIME = re.compile(r"<t>([^<]*)</t>s")
_TAG = re.compile(r"</?(?:think|answer|obj|box|t)>")
_OPEN = re.compile(r"(?:<t>[^<]*(?:</t>)?(?:<[^>]*)?|<[^>]*)$")  # a time or a tag that may still grow
_GOES_ON = ("<box>", "at<t>")
_LONGEST_CLAIM = 400  # characters; what is longer is broken and is shown as it is


def printable(text: str) -> str:
    """Remove control characters, which a terminal would interpret."""
    return "".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text)


def readable(text: str, space: BoxSpace, size: tuple[int, int]) -> str:
    """Model text without tags: boxes of `space` in pixels of a frame of `size` `(W, H)`, times in s."""

    def claim(found: re.Match[str]) -> str:
        claims = parse_claims(found[0], space)
        if not claims:
            return _TAG.sub("", found[0])
        [(name, boxes, time_s)] = [(claim.name, claim.boxes, claim.time_s) for claim in claims]
        listed = "".join(
            f" [{','.join(f'{value:.0f}' for value in pixels(size).scaled(box))}]" for box in boxes
        )
        return f"{name}{listed}" + ("" if time_s is None else f" at {time_s:g} s")

    return printable(_TAG.sub("", _TIME.sub(r"\1 s", _CLAIM.sub(claim, text))))


class Transcript:
    """Turns a growing completion into the pieces to print next.

    A claim comes as a whole, once it is closed. The answer is left to the caller.
    """

    def __init__(self, space: BoxSpace, size: tuple[int, int]) -> None:
        self.space, self.size, self.shown = space, size, ""

    def grow(self, text: str) -> str:
        """What is new and readable in the reasoning of `text`, the completion so far."""
        before, closed, _ = text.partition("</think>")
        reasoning = before.removeprefix("<think>")
        settled = reasoning if closed else reasoning[: self._settled(reasoning)]
        shown = readable(settled, self.space, self.size)
        if not shown.startswith(self.shown):
            return ""
        new, self.shown = shown[len(self.shown) :], shown
        return new

    @staticmethod
    def _settled(text: str) -> int:
        """How much of a growing text is final: all before a claim, a time or a tag that is still open."""
        start = text.rfind("<obj>")
        if start >= 0 and len(text) - start < _LONGEST_CLAIM:
            claim = _CLAIM.match(text, start)
            rest = text[claim.end() :] if claim else ""
            timed = claim is not None and claim[0].endswith("</t>s")
            if not timed and (not claim or any(rest[:5] == more[: len(rest[:5])] for more in _GOES_ON)):
                return start
        found = _OPEN.search(text, start + 5 if start >= 0 else 0)
        return found.start() if found and not text.endswith("</t>s") else len(text)
