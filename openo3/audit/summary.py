"""The numbers of an audit, with 95 % intervals that resample videos.

Necessity is in nats: hiding the cited boxes makes the answer `exp(necessity)` times less likely than hiding
as large random ones. Sufficiency is a share: of what the frames add to the answer's log-probability over
blank frames, how much is left with only the cited boxes shown. It is a ratio of means, because a single
answer may owe nothing to the frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openo3.audit.run import Settings
from openo3.core.metrics import Interval, bootstrap, finite
from openo3.model.necessity import READINGS, WHOLE

FITS = 0.5
"""The IoU from which a cited box counts as right."""

_LEAST_GAIN = 0.05  # nats that the frames must add for a share of it to mean anything


def report(model: str, settings: Settings, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `audit/MODEL.json` holds: `numbers` by reading, `counts`, and every claim with its own interval.

    Raises `ValueError` if no answer cites anything that could be hidden.
    """
    answers = [answer | {"record": record["record"]} for record in records for answer in record["answers"]]
    claims = [claim for answer in answers for claim in _claims(answer)]
    if not claims:
        raise ValueError(
            f"{model}: none of the {len(records):,} records' answers cites a box that lies in a frame, so "
            "there is nothing to audit; --condition names other answers"
        )
    return {
        "model": model,
        "settings": asdict(settings),
        "counts": {
            "records": len(records),
            "answers": sum(answer["whole"] is not None for answer in answers),
            "claims": len(claims),
            "videos": len({claim["video"] for claim in claims}),
            "claims_left_out": dict(sum((Counter(answer["left_out"]) for answer in answers), Counter())),
        },
        "numbers": {
            **{reading: of_claims(claims, reading) for reading in READINGS},
            "precision": _precision(claims),
        },
        "sufficiency": {
            reading: of_answers([answer for answer in answers if answer["whole"]], reading)
            for reading in WHOLE
        },
        "claims": claims,
    }


def of_claims(claims: Sequence[Mapping[str, Any]], reading: str) -> dict[str, Any]:
    """Means over all claims: `given` is the answer's log-probability, `cited` and `random` what hiding costs,
    `necessity` their difference; `decorative` is the share whose necessity's interval is not above 0."""
    rows = [
        [
            one["given"],
            one["given"] - one["hidden"],
            one["given"] - one["elsewhere"],
            one["necessity"],
            float(one["decorative"]),
        ]
        for claim in claims
        for one in [claim["readings"][reading]]
    ]
    found = bootstrap(rows, videos=[claim["video"] for claim in claims])
    names = ("given", "cited", "random", "necessity", "decorative")
    return {name: asdict(interval) for name, interval in zip(names, found, strict=True)}


def of_answers(answers: Sequence[Mapping[str, Any]], reading: str) -> dict[str, Any]:
    """Means over all answers: `given`, `blank`, `only` and `elsewhere` are log-probabilities, the last with
    as large boxes at random places shown instead; `sufficiency` and `by_chance` are the shares kept by both,
    None where the frames add too little for a share to mean anything."""
    rows = [
        [*(answer["whole"][name][reading] for name in ("given", "blank", "only")),
         float(np.mean(answer["whole"]["elsewhere"][reading]))]
        for answer in answers
    ]  # fmt: skip
    videos = [answer["video"] for answer in answers]
    levels = bootstrap(rows, videos=videos)
    numbers = {
        name: asdict(interval)
        for name, interval in zip(("given", "blank", "only", "elsewhere"), levels, strict=True)
    }
    [gain] = bootstrap(rows, lambda means: (means[..., 0] - means[..., 1])[..., None], videos=videos)
    shares = bootstrap(rows, _shares, videos=videos) if gain.low > _LEAST_GAIN else [None, None]
    return numbers | {
        name: share and asdict(share)
        for name, share in zip(("sufficiency", "by_chance"), shares, strict=True)
    }


def _shares(means: NDArray) -> NDArray:
    """Of [..., (given, blank, only, elsewhere)], the shares that `only` and `elsewhere` keep: [..., 2]."""
    return (means[..., 2:] - means[..., 1:2]) / (means[..., 0:1] - means[..., 1:2])


def _claims(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The claims of an answer, each with its numbers by reading."""
    return [
        {
            **{key: answer[key] for key in ("record", "kind", "video", "score")},
            "claim": number,
            **{key: claim[key] for key in ("name", "time_s", "boxes", "iou")},
            "readings": {reading: _one(claim["effect"], reading) for reading in READINGS},
        }
        for number, claim in enumerate(answer["claims"])
    ]


def _one(effect: Mapping[str, Any], reading: str) -> dict[str, Any]:
    """A claim's numbers in a reading; its interval resamples the random places."""
    given, hidden = effect["given"][reading], effect["hidden"][reading]
    elsewhere = np.asarray(effect["elsewhere"][reading], dtype=float)
    interval = interval_of(elsewhere - hidden)
    return {
        "given": given,
        "hidden": hidden,
        "elsewhere": float(elsewhere.mean()),
        "necessity": interval.value,
        "interval": [finite(interval.low), finite(interval.high)],
        "decorative": not interval.low > 0,
    }


def interval_of(gaps: NDArray[np.float64]) -> Interval:
    """The mean of a claim's gaps, one for each random place, with its interval."""
    [interval] = bootstrap(gaps)
    return interval


def _precision(claims: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Of the claims for which there is a true box, the share that fits it and the mean IoU; None without
    any."""
    known = [claim for claim in claims if claim["iou"] is not None]
    if not known:
        return None
    rows = [[float(claim["iou"] >= FITS), claim["iou"]] for claim in known]
    right, iou = bootstrap(rows, videos=[claim["video"] for claim in known])
    return {"right": asdict(right), "iou": asdict(iou), "claims": len(known)}
