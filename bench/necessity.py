"""Measure what the reward `necessity` does: GSPO with and without it over several seeds.

    python -m bench.necessity                                   # the default with three seeds
    python -m bench.necessity --videos 8 --seeds 0 --steps 4    # a quick check that it runs; some minutes

Runs as `bench.ablation` does, in the same folders, so that SFT and GSPO of the ablation are not trained
again. Then each seed's checkpoints are audited (`openo3 audit`). Printed are the benchmarks' numbers and the
audit's (the mean over a record's claims), with the reward and without, and paired differences with 95 %
intervals that resample videos, each record's scores averaged over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.ablation import (
    AXES,
    FOLDER,
    GSPO,
    SFT,
    Run,
    Variant,
    add_training_arguments,
    cell,
    for_all,
    gains,
    header,
    levels,
    line,
    make_data,
    read,
    train,
    train_and_evaluate,
)
from openo3.audit.build import write
from openo3.audit.run import Settings
from openo3.core.metrics import Interval, paired_difference
from openo3.model.necessity import READINGS, Hiding

WITH = Variant("necessity", "… with the reward necessity")
COLUMNS = (
    *(f"necessity, {reading}" for reading in READINGS),
    *(f"decorative, {reading}" for reading in READINGS),
)


def variant(settings: argparse.Namespace) -> Variant:
    """GSPO with the reward, in a folder that names what is not the default."""
    params = {"weight": settings.weight, "every": settings.every, "draws": settings.draws}
    name = f"necessity-{settings.weight:g}-{settings.every}-{settings.draws}"
    return replace(WITH, name=name, changes={"gspo.necessity": params})


def audited(run: Run, settings: argparse.Namespace) -> dict[int, tuple[str, list[float]]]:
    """Record number -> video, and the columns as means over its claims; audited unless it was before."""
    out = run.folder / "audit"
    if not (out / f"{run.variant.stage}.json").exists():
        chosen = Settings(max_records=settings.audit_records, hiding=Hiding(draws=settings.audit_draws))
        write(run.folder, run.variant.stage, chosen, out)
    claims: dict[int, list[Mapping[str, Any]]] = {}
    for claim in read(out / f"{run.variant.stage}.json")["claims"]:
        claims.setdefault(claim["record"], []).append(claim)
    return {
        record: (
            of_record[0]["video"],
            [
                float(np.mean([claim["readings"][reading][name] for claim in of_record]))
                for name in ("necessity", "decorative")
                for reading in READINGS
            ],
        )
        for record, of_record in claims.items()
    }


def compared(
    later: Sequence[dict[int, tuple[str, list[float]]]], earlier: Sequence[dict[int, tuple[str, list[float]]]]
) -> tuple[list[list[float]], list[Interval]]:
    """The columns' means with and without the reward, and their differences, over the records that cite
    something in all runs."""
    shared = sorted(set.intersection(*(set(run) for run in (*later, *earlier))))
    with_it, without = (
        np.array([[run[record][1] for record in shared] for run in runs]).mean(axis=0)
        for runs in (later, earlier)
    )
    videos = [later[0][record][0] for record in shared]
    return [with_it.mean(axis=0), without.mean(axis=0)], paired_difference(with_it, without, videos=videos)


def main() -> None:
    settings = arguments()
    root = settings.folder.resolve()
    make_data(root, settings)
    chosen = (SFT, GSPO, variant(settings))
    runs = {each.name: [Run(root, each, seed) for seed in settings.seeds] for each in chosen}
    for_all(train, runs[SFT.name], settings)
    for_all(train_and_evaluate, [run for each in (GSPO, chosen[2]) for run in runs[each.name]], settings)
    without, with_it = runs[GSPO.name], runs[chosen[2].name]
    heads = [label for axes in AXES.values() for label in axes.values()]
    lines = [header("", heads)]
    for label, of_variant in ((GSPO.label, without), (WITH.label, with_it)):
        lines.append(
            line(
                label, [f"{100 * levels(of_variant, b)[key]:.1f}" for b, axes in AXES.items() for key in axes]
            )
        )
    found = {bench: gains(with_it, without, bench) for bench in AXES}
    lines.append(line("difference", [cell(found[b][key]) for b, axes in AXES.items() for key in axes]))
    means, differences = compared(*([audited(run, settings) for run in each] for each in (with_it, without)))
    lines += ["", header("", COLUMNS)]
    for label, values in zip((WITH.label, GSPO.label), means, strict=True):
        lines.append(line(label, [f"{value:.3f}" for value in values]))
    written = [f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in differences]
    lines.append(line("difference", written))
    text = "\n".join(lines)
    (root / "necessity.md").write_text(text + "\n")
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.necessity", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--videos", type=int, default=80, help="held-out clips, two records each")
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--every", type=int, default=4, help="the reward is computed on one group in so many")
    parser.add_argument("--draws", type=int, default=2, help="random places a claim in training")
    parser.add_argument("--audit-draws", type=int, default=8)
    parser.add_argument("--audit-records", type=int, help="the first records alone")
    add_training_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
