"""Where a model is found and how its frames are sampled, when the caller does not say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openo3
from openo3.checkpoints import CHECKPOINTS, FOLDER
from openo3.configuration import ConfigurationError, read_blocks
from openo3.core.prompts import Prompts
from openo3.files.artifacts import read_json
from openo3.media.decode import SamplingConfig
from openo3.prompt_file import default_prompts, prompts_path, read_prompts

PARAMS = "params.yaml"
RECORD = "openo3-run.json"
"""The parameters and metrics of a published model, in its folder; see `openo3.publishing`."""
PROMPTS = "prompts.yaml"
"""The templates of a published model's training, in its folder."""
MODELS = (*(f"{FOLDER}/{name}" for name in reversed(CHECKPOINTS)), "data/tiny-qwen3-vl")
"""The pipeline's checkpoints, the last stage first, and the base model shipped with the repository."""

PUBLISHED = {"fps": 2.0, "min_frames": 4, "max_frames": 16, "max_pixels": 128 * 28 * 28}
"""Frame sampling of the published models, for a model outside any checkout."""


def find_model(start: Path) -> Path:
    """The last checkpoint of the checkout around `start`, else of the checkout that openo3 is imported from.

    Raises:
        FileNotFoundError: neither has a model.
    """
    for root in [*checkouts(start), Path(openo3.__file__).parents[1]]:
        for name in MODELS:
            if any((root / name / marker).is_file() for marker in ("config.json", "pointer.json")):
                return root / name
    raise FileNotFoundError(
        f"{start}: no model in this checkout; run `make repro`, or name a model's folder with --model"
    )


def frame_sampling(model: Path, multiple: int) -> SamplingConfig:
    """How training samples frames, by the parameters' `sample_frames`: those that a published model carries
    (`RECORD`), else those of the checkout around `model`. Without either: `PUBLISHED`.

    `multiple` is what each side of a frame is a multiple of, in pixels.

    Raises:
        ConfigurationError: the block cannot be used; the message names the file and the key.
    """
    if (record := model / RECORD).is_file():
        return _sampling(record, _recorded_parameters(record), multiple)
    for root in checkouts(model):
        return _sampling(root / PARAMS, read_blocks(root / PARAMS), multiple)
    return SamplingConfig(**PUBLISHED, multiple=multiple)


def checkout_prompts(model: Path) -> Prompts:
    """The prompts of training: those that a published model carries (`PROMPTS`), else those of the checkout
    around `model`. Without either: those of openo3.

    Raises:
        ConfigurationError: the templates cannot be used; the message names the file and the key.
    """
    if (own := model / PROMPTS).is_file():
        return read_prompts(own)
    for root in checkouts(model):
        return read_prompts(prompts_path(root / PARAMS))
    return default_prompts()


def _recorded_parameters(record: Path) -> Any:
    try:
        return read_json(record)["parameters"]
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{record}: parameters: {error!r}") from None


def _sampling(where: Path, blocks: Any, multiple: int) -> SamplingConfig:
    try:
        block = blocks["sample_frames"]
        even = block["train"]
        max_pixels = int(_positive(even.get("max_pixels") or block["max_pixels"]))
        if max_pixels < multiple**2:
            raise ValueError(f"max_pixels {max_pixels} is less than one square of {multiple}")
        return SamplingConfig(
            fps=_positive(even["fps"]),
            min_frames=int(_positive(even["min_frames"])),
            max_frames=int(_positive(even["max_frames"])),
            max_pixels=max_pixels,
            multiple=multiple,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"{where}: sample_frames.train: {error!r}") from None


def checkouts(start: Path) -> Iterator[Path]:
    """Every checkout of the project around a folder, the nearest first."""
    folder = start.resolve()
    for root in (folder, *folder.parents):
        if (root / PARAMS).is_file() and (root / "openo3").is_dir():
            yield root


def _positive(number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1e15:
        raise ValueError(f"{number!r} is not a positive number")
    return float(number)
