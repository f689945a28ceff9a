"""The evidence of a completion as plain JSON values, for programs and for the player.

    <think>A <obj>cup</obj><box>[0,0,500,500]</box>at<t>2.0</t>s.</think><answer>it</answer>
    -> {"answer": "it", "reasoning": "A <obj>…", "claims": [{"object": "cup", …}], "spans": [],
        "shown": {"reasoning": ["A ", {"claim": 0}, "."], "answer": ["it"]}}

`shown` is the text in order: words without tags, claims by their index, and other times as `{"time_s": 2.0}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openo3.core.evidence import Claim, parse_claims, parse_completion, parse_span, split_evidence
from openo3.core.geometry import BoxSpace, Span, pixels
from openo3.core.reading import final_answer
from openo3.inference.transcript import without_tags, written_so_far


def evidence_json(text: str, space: BoxSpace, size: tuple[int, int]) -> dict[str, Any]:
    """What a completion says.

    Its boxes are of `space`; `size` is the `(W, H)` of the clip in source pixels.
    """
    completion = parse_completion(text, space)
    return _json(completion.reasoning, final_answer(text), completion.answer_span, space, size)


def growing_json(text: str, space: BoxSpace, size: tuple[int, int]) -> dict[str, Any]:
    """The same of a completion that is still being written, with `partial`; claims come as a whole."""
    reasoning, answer = written_so_far(text)
    return {**_json(reasoning or None, answer, parse_span(answer), space, size), "partial": True}


def cited_claims(reasoning: str | None, answer: str, space: BoxSpace) -> tuple[Claim, ...]:
    """Every claim of the reasoning and the answer once, in the order of the text; normalised boxes."""
    return tuple(dict.fromkeys((*parse_claims(reasoning or "", space), *parse_claims(answer, space))))


def _json(
    reasoning: str | None, answer: str, span: Span | None, space: BoxSpace, size: tuple[int, int]
) -> dict[str, Any]:
    claims = cited_claims(reasoning, answer, space)
    numbers = {claim: index for index, claim in enumerate(claims)}

    def shown(text: str) -> list[str | dict[str, Any]]:
        pieces = []
        for piece in split_evidence(text, space):
            if isinstance(piece, Claim):
                pieces.append({"claim": numbers[piece]})
            elif not isinstance(piece, str):
                pieces.append({"time_s": piece})
            elif words := without_tags(piece):
                pieces.append(words)
        return pieces

    return {
        "answer": answer,
        "reasoning": reasoning,
        "claims": [claim_json(claim, pixels(size)) for claim in claims],
        "spans": [] if span is None else [list(span)],
        "shown": {"reasoning": shown(reasoning or ""), "answer": shown(answer)},
    }


def claim_json(claim: Claim, space: BoxSpace) -> dict[str, Any]:
    """A claim with its boxes normalised and in `space`, the source pixels."""
    boxes = [
        {"normalised": _rounded(box, 4), "pixels": _rounded(space.scaled(box), 1)} for box in claim.boxes
    ]
    return {"object": claim.name, "time_s": claim.time_s, "boxes": boxes}


def _rounded(box: Sequence[float], digits: int) -> list[float]:
    return [round(value, digits) for value in box]
