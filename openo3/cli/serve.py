"""`openo3 serve`: a model behind an OpenAI-compatible address, with a page at `/`.

    openo3 serve                          http://127.0.0.1:8000
    OPENO3_API_KEY=… openo3 serve --host 0.0.0.0

Nothing of a request is kept, and no request is logged.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import socket
import sys
from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from openo3.cli.errors import InputError, refuse

if TYPE_CHECKING:
    from openo3.inference.model import Model

KEY_VARIABLE = "OPENO3_API_KEY"
_SHORTEST_KEY = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from openo3.serving.limits import ServingLimits

    parser.add_argument("--model", metavar="FOLDER", help="by default the last checkpoint of this checkout")
    parser.add_argument("--host", default="127.0.0.1", help="another address than this machine's needs a key")
    parser.add_argument("--port", type=int, default=8000, help="0 chooses a free one")
    parser.add_argument("--api-key", metavar="KEY", help=f"by default the environment's {KEY_VARIABLE}")
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
    import uvicorn

    from openo3.serving.app import Access, create_app
    from openo3.serving.limits import ServingLimits

    limits = ServingLimits(**{each.name: getattr(arguments, each.name) for each in fields(ServingLimits)})
    access = Access(_key(arguments), arguments.allow_https)
    # Before the model is loaded, so that a taken port is known at once
    listening = _listen(arguments.host, arguments.port)
    with listening:
        model = _load(arguments)
        app = create_app(model, limits, access)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"openo3: {model.name} answers at http://{shown}:{port}", file=sys.stderr, flush=True)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5
        )
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _key(arguments: argparse.Namespace) -> str | None:
    key = arguments.api_key or os.environ.get(KEY_VARIABLE) or None
    if key is not None and len(key) < _SHORTEST_KEY:
        raise InputError(f"the API key has {len(key)} characters, at least {_SHORTEST_KEY}")
    if key is None and not _is_this_machine(arguments.host):
        raise InputError(
            f"--host {arguments.host}: others reach this address; set a key with --api-key or {KEY_VARIABLE}"
        )
    return key


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"{host} port {port}: {error.strerror or error}") from None
    except OverflowError:
        raise InputError(f"--port {port}: expected 0 to 65535") from None


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
