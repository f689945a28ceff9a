"""The templates of prompts that `params.yaml` names: one file for all stages of a run that use any."""

from __future__ import annotations

from pathlib import Path

from openo3.configuration import ConfigurationError
from openo3.core.prompts import Prompts
from openo3.prompt_file import prompts_path, read_prompts
from stages.params import wrong


def load_prompts(path: str = "params.yaml") -> tuple[Path, Prompts]:
    """The file of templates that the parameter file names under `prompts`, and its templates.

    Raises `SystemExit(2)` after one line on standard error that names the file and the key.
    """
    try:
        templates = prompts_path(path)
        return templates, read_prompts(templates)
    except ConfigurationError as error:
        wrong(error)
