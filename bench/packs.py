"""How evenly the packs of SFT load several processes, in random order and balanced. No frame is decoded.

python -m bench.packs                  the data, frames and base of the last run, four processes
python -m bench.packs --processes 8

A process that has fewer tokens in a step waits for the busiest one. `busiest` is the busiest process's tokens
by the mean of all, averaged over the steps of an epoch; `padded` counts padding too, which is computed too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from openo3.media.frame_store import FrameStore
from openo3.model.encode import PromptEncoder
from openo3.model.load import load_processor
from openo3.training.balance import BalancedOrder, busiest, shuffled
from openo3.training.examples import Examples
from openo3.training.sft import GroupCollator


def padded(order: Sequence[int], tokens: Sequence[int], batch: int) -> list[int]:
    """The tokens of each row of an order with the padding of its batch, in that order."""
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    return [max(tokens[row] for row in rows) for rows in batches for _ in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rows", type=Path, default=Path("data/validated/sft.jsonl"))
    parser.add_argument("--frames", type=Path, default=Path("data/frames/train"))
    parser.add_argument("--base", type=Path, default=Path("data/models/base"))
    parser.add_argument("--most-per-pack", type=int, default=8)
    options = parser.parse_args()
    encoder = PromptEncoder(load_processor(options.base))
    examples = Examples.load(options.rows, FrameStore.open(options.frames), encoder).with_direct()
    collator = GroupCollator(examples)
    tokens = [collator.tokens(group) for group in examples.groups(options.most_per_pack)]
    print(f"{len(tokens):,} packs of {min(tokens):,} to {max(tokens):,} tokens")
    print(f"{'packs per process':>20} {'order':>9} {'busiest':>9} {'padded':>9}")
    for batch, accumulation in ((1, 1), (1, 4), (8, 1)):
        random = shuffled(len(tokens), torch.Generator().manual_seed(0))
        balanced = BalancedOrder(tokens, options.processes, batch, accumulation, 0, lambda: 0)
        for name, order in (("random", random), ("balanced", [*balanced])):
            counted = [
                busiest(order, tokens, options.processes, batch),
                busiest(range(len(order)), padded(order, tokens, batch), options.processes, batch),
            ]
            numbers = " ".join(f"{number:9.3f}" for number in counted)
            print(f"{f'{batch} x {accumulation} steps':>20} {name:>9} {numbers}")


if __name__ == "__main__":
    main()
