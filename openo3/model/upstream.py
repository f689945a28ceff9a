"""All uses of private or unstable parts of torch, transformers and vLLM in this package.

`SEAMS` lists them, each with the version it was written against; a test compares them with what is
installed. (`openo3.training.trl_compat` does the same for the trainers.)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import torch


@dataclass(frozen=True)
class Seam:
    """A part of another library that is used although it may change.

    `name` is its full dotted name. `signature` are the parameters that it had in `version`; or, for an
    attribute, `mentions` is what the source of `name` must contain. `until` says when the use may go.
    """

    library: str
    version: str
    name: str
    why: str
    until: str
    signature: str | None = None
    mentions: str | None = None


SEAMS = (
    Seam(
        "transformers",
        "5.23.0",
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
        "`grouped_attention` falls back to it for batches without packs",
        "AttentionInterface can be asked for the function of a name",
        "module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, "
        "position_bias=None, cache=None, **kwargs",
    ),
    Seam(
        "transformers",
        "5.23.0",
        "transformers.masking_utils.sdpa_mask",
        "registered as the mask function of `grouped_attention`",
        "transformers exports its mask functions",
        "batch_size, q_length, kv_length, q_offset=0, kv_offset=0, mask_function=causal_mask_function, "
        "attention_mask=None, local_size=None, allow_is_causal_skip=True, allow_is_bidirectional_skip=False, "
        "use_vmap=False, device='cpu', **kwargs",
    ),
    Seam(
        "transformers",
        "5.23.0",
        "transformers.PreTrainedModel",
        "`switch_attention` sets the attention of a loaded model by its configuration",
        '`set_attn_implementation` takes registered names that contain "flash" without the kernel hub',
        mentions="_attn_implementation",
    ),
    Seam(
        "transformers",
        "5.23.0",
        "transformers.cache_utils.DynamicLayer.update",
        "`SlottedLayer` writes keys and values in place, into slots that branches share",
        "transformers has a cache layer with slots",
        "self, key_states, value_states, *args, **kwargs",
    ),
    Seam(
        "torch",
        "2.13.0",
        "torch.nn.Module",
        "`uncompiled` sets a layer's compiled form aside",
        "a compiled module can be called uncompiled",
        mentions="_compiled_call_impl",
    ),
    Seam(
        "torch",
        "2.13.0",
        "torch._dynamo.config",
        "`allow_recompilations`: both towers' layers share one limit",
        "torch.compile takes the limit as an argument",
        mentions="recompile_limit",
    ),
)


def drift(seam: Seam) -> str | None:
    """How the installed library differs from what a seam was written against, in one line; None if not."""
    where = f"{seam.name} (written for {seam.library} {seam.version}, {_version(seam.library)} is installed)"
    try:
        found = _resolve(seam.name)
    except (AttributeError, ImportError):
        return f"{where} is gone: {seam.why}"
    if seam.mentions is not None and seam.mentions not in inspect.getsource(found):
        return f"{where} no longer has {seam.mentions}: {seam.why}"
    if seam.signature is not None and parameters(found) != seam.signature:
        return f"{where} takes ({parameters(found)}), not ({seam.signature}): {seam.why}"
    return None


def parameters(function: Any) -> str:
    """A signature without annotations: names and defaults."""
    known = inspect.signature(function).parameters.values()
    return ", ".join(_spelled(parameter) for parameter in known)


def _spelled(parameter: inspect.Parameter) -> str:
    if inspect.isfunction(parameter.default):  # whose repr has an address
        return f"{parameter.name}={parameter.default.__name__}"
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def _resolve(name: str) -> Any:
    """The object of a full dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "none"


def switch_attention(model: Any, vision: str, text: str) -> None:
    """Have the towers of a loaded model attend by the functions registered under these names."""
    model.model.visual.config._attn_implementation = vision
    model.model.language_model.config._attn_implementation = text


@contextmanager
def uncompiled(
    layers: Iterable[Any], forward_of: Callable[[Any], Callable[..., Any]] | None = None
) -> Iterator[None]:
    """Inside the context, call layers uncompiled, and with another forward if one is given."""
    before = [(layer, layer._compiled_call_impl) for layer in layers]
    try:
        for layer, _ in before:
            layer._compiled_call_impl = None
            if forward_of:
                layer.forward = forward_of(layer)
        yield
    finally:
        for layer, compiled in before:
            layer._compiled_call_impl = compiled
            if forward_of:
                del layer.forward


def allow_recompilations(count: int) -> None:
    """How many variants of one function torch.compile compiles before it gives up."""
    torch._dynamo.config.recompile_limit = count


def vllm_max_model_len(llm: Any) -> int:
    """The most tokens of a prompt with its answer (`vllm.LLM` does not say)."""
    return llm.llm_engine.model_config.max_model_len


def vllm_set_processor_kwargs(llm: Any, settings: Mapping[str, Any]) -> None:
    """Settings of the image processor for an engine that is already loaded."""
    llm.llm_engine.model_config.multimodal_config.mm_processor_kwargs = dict(settings)


def vllm_forget_frames(llm: Any) -> None:
    """Drop cached outputs of the vision tower, which are outdated once the weights have changed."""
    llm.llm_engine.reset_encoder_cache()


def vllm_shutdown(llm: Any) -> None:
    """End the engine's processes."""
    llm.llm_engine.engine_core.shutdown()
