"""`openo3 serve`: a model behind an OpenAI-compatible address, with a page at `/`.

    openo3 serve                          http://127.0.0.1:8000
    OPENO3_API_KEY=… openo3 serve --host 0.0.0.0

Nothing of a request is kept, and no request is logged.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from openo3.cli.errors import InputError, refuse
from openo3.cli.listening import add_address, address_of, key_of, listen, serve

if TYPE_CHECKING:
    from openo3.inference.model import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from openo3.serving.limits import ServingLimits

    parser.add_argument("--model", metavar="FOLDER", help="by default the last checkpoint of this checkout")
    add_address(parser)
    parser.add_argument("--allow-https", action="store_true", help="fetch clips from the internet")
    parser.add_argument("--vllm", metavar="JSON", help="answer with vLLM; settings of vllm.LLM, or {}")
    limits = parser.add_argument_group("limits")
    for each in fields(ServingLimits):
        kind = int if isinstance(each.default, int) else float
        limits.add_argument(
            f"--{each.name.replace('_', '-')}", type=kind, default=each.default, metavar="N",
            help=f"default: {each.default:g}",
        )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in `ask`; set before torch is imported
    try:
        return _serve(arguments)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return refuse(InputError(" ".join(str(error).split())))


def _serve(arguments: argparse.Namespace) -> int:
    from openo3.serving.app import Access, create_app
    from openo3.serving.limits import ServingLimits

    limits = ServingLimits(**{each.name: getattr(arguments, each.name) for each in fields(ServingLimits)})
    access = Access(key_of(arguments), arguments.allow_https)
    # Before the model is loaded, so that a taken port is known at once
    listening = listen(arguments)
    with listening:
        model = _load(arguments)
        app = create_app(model, limits, access)
        print(f"openo3: {model.name} answers at {address_of(listening)}", file=sys.stderr, flush=True)
        serve(app, listening)
    return 0


def _load(arguments: argparse.Namespace) -> Model:
    from transformers.utils.logging import disable_progress_bar

    from openo3.inference.model import load

    disable_progress_bar()
    return load(arguments.model, vllm=_vllm(arguments.vllm))


def _vllm(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    if find_spec("vllm") is None:
        raise InputError("--vllm: not installed here, make install LOCK=requirements-gpu.lock")
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--vllm: not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise InputError('--vllm: expected a JSON object such as {"max_model_len": 32768}')
    return settings
