"""Asking a model about one clip.

    model = load("data/models/gspo")
    answer = model.ask("clip.mp4", "What enters after the red circle?")
    answer.answer, answer.claims

Prompts and frame sampling are those of training and evaluation, in the checkout around the model.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from openo3.core.evidence import parse_completion
from openo3.core.prompts import Prompts
from openo3.core.reading import final_answer
from openo3.core.schema import Task
from openo3.core.voting import Votes, elect, grouped, weight
from openo3.core.words import same_words
from openo3.inference.answer import Answer, Vote
from openo3.inference.asked import Asked
from openo3.inference.checkout import MODELS, checkout_prompts, find_model, frame_sampling
from openo3.inference.looking import look
from openo3.media.decode import SamplingConfig
from openo3.media.isolated import Processes
from openo3.media.probe import MediaError
from openo3.model.decoding import Sampling
from openo3.model.engine import Engine, LocalEngine
from openo3.model.relevance import evidence, rate

TIME_LIMIT_S = 120.0
"""For decoding one clip."""

MAX_VOTES = 64
MAX_NEW_TOKENS = 224
MAX_QUESTION = 10_000
LEAST_TEMPERATURE = 0.01
"""Of sampling. Below it, a model's scores are divided by so little that they become infinite."""

_SENSELESS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    StrictDataclassError,
    TypeError,
)
"""What libraries raise for a model folder whose files are JSON, but not that of a model."""


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    frames: SamplingConfig | None = None,
    vllm: Mapping[str, Any] | None = None,
) -> Model:
    """Load a model folder, on the GPU if there is one.

    Args:
        model: a folder with a model of the Qwen-VL family; without it the last checkpoint of this checkout
            (GSPO, else SFT, else base), else the model shipped with the repository.
        frames: how frames are sampled; without it as in training, in the checkout around the model.
        vllm: settings of `vllm.LLM`, to answer with vLLM.

    Raises:
        FileNotFoundError: the folder holds no model.
        ConfigurationError: the checkout's parameters cannot be used.
        ValueError: the folder's files are damaged, or of a model that cannot be loaded.
    """
    path = find_model(Path.cwd()) if model is None else Path(model)
    # As it was named, or as every checkout names it: a page that is shared tells nobody where this one lies
    name = str(path) if model is not None else next(name for name in MODELS if path.match(name))
    prompts = checkout_prompts(path)
    try:
        engine = LocalEngine.load(path, prompts=prompts) if vllm is None else _with_vllm(path, vllm, prompts)
    except _SENSELESS as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{path}: not a model that can be loaded: {said}") from None
    patch = engine.encoder.processor.image_processor.patch_size
    return Model(engine, name, frames or frame_sampling(path, patch * engine.encoder.merge))


def _with_vllm(path: Path, settings: Mapping[str, Any], prompts: Prompts | None) -> Engine:
    from openo3.model.vllm_engine import VLLMEngine

    return VLLMEngine.load(path, settings, prompts)


class Model:
    """A loaded model. `name` is its folder as the caller or the checkout names it; `frames` samples clips."""

    def __init__(self, engine: Engine, name: str, frames: SamplingConfig) -> None:
        self.engine, self.name, self.frames = engine, name, frames
        self._decoders = Processes()

    def ask(
        self,
        clip: str | os.PathLike[str],
        question: str,
        *,
        task: Task | None = None,
        plain: bool = False,
        votes: int = 1,
        confident: bool = False,
        temperature: float | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        seed: int = 0,
        watch: Callable[[str], None] | None = None,
    ) -> Answer:
        """Answer one question about one video or image file.

        Args:
            clip: the file; its content decides what it is, not its name.
            question: in plain words; options of a choice are part of it.
            task: the kind of answer; by default `FREE_FORM` for videos and `VISUAL` for images.
            plain: ask without the evidence grammar's instruction, as a base model is asked.
            votes: how many completions to sample; the most frequent answer wins.
            confident: weight the votes by how relevant the model rates the evidence that each cites.
            temperature: 0 decodes greedily; by default 0 for one vote, else that of `Votes`.
            max_new_tokens: the longest completion, in tokens.
            seed: equal seeds give equal answers.
            watch: receives the completion so far after every token; not called with several votes.

        Raises:
            MediaError: the clip gives no frames; `reason` says why.
            ValueError: an argument is out of range.
        """
        sampling = sampling_of(votes, temperature, max_new_tokens, seed)
        asked = self.asked(clip, question, task=task, plain=plain)
        return self.answer(asked, sampling, confident=confident, watch=watch)

    def answer(
        self,
        asked: Asked,
        sampling: Sampling,
        *,
        confident: bool = False,
        watch: Callable[[str], None] | None = None,
    ) -> Answer:
        """The answer to a question that `asked` has prepared; see `ask`."""
        votes = sampling.n
        if confident and votes == 1:
            raise ValueError("confident needs several votes")
        [texts] = self.engine.generate([asked.prompt], sampling, watch=watch if votes == 1 else None)
        weights = self._weights(asked, texts) if confident else [1.0] * votes
        winner, counted = count_votes([final_answer(written) for written in texts], weights)
        return asked.answer(texts[winner], sampling, counted if votes > 1 else ())

    def asked(
        self,
        clip: str | os.PathLike[str],
        question: str,
        *,
        task: Task | None = None,
        plain: bool = False,
        longest_s: float | None = None,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> Asked:
        """The question with the clip's frames, as `ask` puts it to the model.

        `time_limit_s` is for decoding. Raises `MediaError`, also for a video longer than `longest_s` seconds.
        """
        _check_text(question)
        path = _regular_file(clip)
        # In a process of its own: decoders may crash or hang on a broken file
        looked = self._decoders.call(look, (str(path), self.frames, longest_s), time_limit_s)
        if isinstance(looked, MediaError):
            raise looked
        media, video = looked
        if task is None:
            task = Task.VISUAL if media.kind == "image" else Task.FREE_FORM
        prompts = self.engine.encoder.prompts
        text = (prompts.plainly() if plain else prompts).task(task, question.strip())
        space = self.engine.box_space(video.size)
        kind = None if plain else task
        return Asked(question.strip(), kind, text, path, media, video, space, self.name)

    def _weights(self, asked: Asked, texts: Sequence[str]) -> list[float]:
        """How much each completion's evidence makes its vote count, by the model's own rating."""
        shown, duration_s = asked.prompt.frames, asked.video.duration_s
        side = self.engine.encoder.side_multiple
        completions = [parse_completion(written, asked.space) for written in texts]
        cited = [evidence(asked.question, each, shown, duration_s, side) for each in completions]
        return [weight(relevance) for relevance in rate(self.engine, cited)]


def sampling_of(
    votes: int = 1, temperature: float | None = None, max_new_tokens: int = MAX_NEW_TOKENS, seed: int = 0
) -> Sampling:
    """How answers are decoded; see `Model.ask`. Raises `ValueError` for an argument out of range."""
    if not 1 <= votes <= MAX_VOTES:
        raise ValueError(f"votes is {votes}, expected 1 to {MAX_VOTES}")
    if temperature is None:
        temperature = Votes.temperature if votes > 1 else 0.0
    if temperature != 0 and not LEAST_TEMPERATURE <= temperature <= 10:
        raise ValueError(f"temperature is {temperature}, expected 0, or {LEAST_TEMPERATURE} to 10")
    if votes > 1 and temperature == 0:
        raise ValueError("several votes need a temperature above 0")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, expected at least 1")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed is {seed}, expected 0 to 2^63 - 1")
    return Sampling(max_new_tokens, temperature, Votes.top_p if temperature else 1.0, votes, seed)


def _check_text(question: str) -> None:
    """Raises `ValueError` for a question that is empty, that no tokenizer takes, or that is too long."""
    if not question.strip():
        raise ValueError("the question is empty")
    if len(question) > MAX_QUESTION:
        raise ValueError(f"the question has {len(question):,} characters, at most {MAX_QUESTION:,}")
    try:
        question.encode()
    except UnicodeEncodeError:
        raise ValueError("the question holds half a character (a lone surrogate)") from None


def _regular_file(clip: str | os.PathLike[str]) -> Path:
    """Raises `MediaError` where there is none; a device or a pipe would be read without end."""
    path = Path(clip)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a name may be too long, or hold a zero
        raise MediaError("missing") from None
    if not stat.S_ISREG(mode):
        raise MediaError("unreadable", "not a regular file")
    return path


def count_votes(answers: Sequence[str], weights: Sequence[float]) -> tuple[int, tuple[Vote, ...]]:
    """The index of the answer that wins, 0 if none can be read, and the votes, the heaviest first.

    >>> count_votes(["red ring", "A blue disc.", "a blue disc"], [1.0, 1.0, 1.0])[0]
    1
    """
    groups = grouped(answers, same_words)
    won = elect(groups, weights)
    totals: dict[int, list[float]] = {}
    for group, own in zip(groups, weights, strict=True):
        if group is not None:
            totals.setdefault(group, []).append(own)
    votes = [Vote(answers[group], len(each), sum(each) / sum(weights)) for group, each in totals.items()]
    return won.winner or 0, tuple(sorted(votes, key=lambda vote: -vote.share))
