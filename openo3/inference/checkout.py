"""Where a model is found and how its frames are sampled, when the caller does not say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openo3
from openo3.configuration import ConfigurationError, read_blocks
from openo3.media.decode import SamplingConfig

PARAMS = "params.yaml"
MODELS = ("data/models/gspo", "data/models/sft", "data/models/base", "data/tiny-qwen3-vl")
"""The pipeline's checkpoints, the last stage first, and the base model shipped with the repository."""

PUBLISHED = {"fps": 2.0, "min_frames": 4, "max_frames": 16, "max_pixels": 128 * 28 * 28}
"""Frame sampling of the published models, for a model outside any checkout."""


def find_model(start: Path) -> Path:
    """The last checkpoint of the checkout around `start`, else of the checkout that openo3 is imported from.

    Raises:
        FileNotFoundError: neither has a model.
    """
    for root in [*_checkouts(start), Path(openo3.__file__).parents[1]]:
        for name in MODELS:
            if any((root / name / marker).is_file() for marker in ("config.json", "pointer.json")):
                return root / name
    raise FileNotFoundError(
        f"{start}: no model in this checkout; run `make repro`, or name a model's folder with --model"
    )


def frame_sampling(model: Path, multiple: int) -> SamplingConfig:
    """How training samples frames in the checkout around `model`: its parameters' `sample_frames`.

    `multiple` is what each side of a frame is a multiple of, in pixels. Outside a checkout: `PUBLISHED`.

    Raises:
        ConfigurationError: the block cannot be used; the message names the file and the key.
    """
    for root in _checkouts(model):
        blocks = read_blocks(root / PARAMS)
        try:
            block = blocks["sample_frames"]
            even = block["train"]
            return SamplingConfig(
                fps=_positive(even["fps"]),
                min_frames=int(_positive(even["min_frames"])),
                max_frames=int(_positive(even["max_frames"])),
                max_pixels=int(_positive(even.get("max_pixels") or block["max_pixels"])),
                multiple=multiple,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"{root / PARAMS}: sample_frames.train: {error!r}") from None
    return SamplingConfig(**PUBLISHED, multiple=multiple)


def _checkouts(start: Path) -> Iterator[Path]:
    folder = start.resolve()
    for root in (folder, *folder.parents):
        if (root / PARAMS).is_file() and (root / "openo3").is_dir():
            yield root


def _positive(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
        raise ValueError(f"{number!r} is not a positive number")
    return float(number)
