"""Asking a model about one clip.

    model = load("data/models/gspo")
    answer = model.ask("clip.mp4", "What enters after the red circle?")
    answer.answer, answer.claims

Prompts and frame sampling are those of training and evaluation.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from openo3.core import prompts
from openo3.core.evidence import parse_completion
from openo3.core.geometry import BoxSpace
from openo3.core.reading import final_answer
from openo3.core.schema import Task
from openo3.core.voting import majority
from openo3.inference.answer import Answer, Vote
from openo3.inference.checkout import find_model, frame_sampling
from openo3.inference.looking import look
from openo3.media.decode import DecodedVideo, SamplingConfig
from openo3.media.frame_store import Frame
from openo3.media.image import fit_size
from openo3.media.isolated import Processes
from openo3.media.probe import Media, MediaError
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine

TIME_LIMIT_S = 120.0
"""For decoding one clip."""

VOTING_TEMPERATURE = 0.7
TOP_P = 0.9
MAX_VOTES = 64


def load(model: str | os.PathLike[str] | None = None, *, frames: SamplingConfig | None = None) -> Model:
    """Load a model folder, on the GPU if there is one.

    Args:
        model: a folder with a model of the Qwen-VL family; without it the last checkpoint of this checkout
            (GSPO, else SFT, else base), else the model shipped with the repository.
        frames: how frames are sampled; without it as in training, in the checkout around the model.

    Raises:
        FileNotFoundError: the folder holds no model.
        ConfigurationError: the checkout's parameters cannot be used.
    """
    path = find_model(Path.cwd()) if model is None else Path(model)
    engine = LocalEngine.load(path)
    patch = engine.encoder.processor.image_processor.patch_size
    return Model(engine, str(path), frames or frame_sampling(path, patch * engine.encoder.merge))


class Model:
    """A loaded model. `name` is its folder; `frames` says how clips are sampled."""

    def __init__(self, engine: LocalEngine, name: str, frames: SamplingConfig) -> None:
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
        temperature: float | None = None,
        max_new_tokens: int = 224,
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
            temperature: 0 decodes greedily; by default 0 for one vote, else `VOTING_TEMPERATURE`.
            max_new_tokens: the longest completion, in tokens.
            seed: equal seeds give equal answers.
            watch: receives the completion so far after every token; not called with several votes.

        Raises:
            MediaError: the clip gives no frames; `reason` says why.
            ValueError: an argument is out of range.
        """
        if not question.strip():
            raise ValueError("the question is empty")
        if not 1 <= votes <= MAX_VOTES:
            raise ValueError(f"votes is {votes}, expected 1 to {MAX_VOTES}")
        if temperature is None:
            temperature = VOTING_TEMPERATURE if votes > 1 else 0.0
        if not 0 <= temperature <= 10:
            raise ValueError(f"temperature is {temperature}, expected 0 to 10")
        if votes > 1 and temperature == 0:
            raise ValueError("several votes need a temperature above 0")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}, expected at least 1")
        path = Path(clip)
        media, video = self._decode(path)
        if task is None:
            task = Task.VISUAL if media.kind == "image" else Task.FREE_FORM
        text = question.strip() if plain else prompts.task_text(task, question.strip())
        shown = tuple(Frame(shot.image, shot.time_s, shot.key) for shot in video.shots)
        sampling = Sampling(max_new_tokens, temperature, TOP_P if temperature else 1.0, votes, seed)
        [texts] = self.engine.generate(
            [Prompt(shown, video.duration_s, text)], sampling, watch=watch if votes == 1 else None
        )
        space = self.engine.box_space(video.size)
        completions = [parse_completion(written, space) for written in texts]
        winner, counted = count_votes([final_answer(written) for written in texts])
        return Answer(
            question=question.strip(),
            completion=completions[winner],
            path=path,
            media=media,
            frame_times_s=() if video.duration_s is None else tuple(frame.time_s for frame in shown),
            model=self.name,
            protocol={
                "task": None if plain else str(task),
                "prompt": text,
                "frames": len(shown),
                "frame_size": list(video.size),
                "frame_times_s": [] if video.duration_s is None else [frame.time_s for frame in shown],
                "temperature": temperature,
                "top_p": sampling.top_p,
                "max_new_tokens": max_new_tokens,
                "seed": seed,
            },
            votes=counted if votes > 1 else (),
        )

    def box_space(self, size: tuple[int, int]) -> BoxSpace:
        """The space of the boxes in its completions about a clip whose frames are `(W, H)` source pixels."""
        return self.engine.box_space(fit_size(*size, self.frames.max_pixels, self.frames.multiple))

    def _decode(self, path: Path) -> tuple[Media, DecodedVideo]:
        """In a process of its own: decoders may crash or hang on a broken file."""
        result = self._decoders.call(look, (str(path), self.frames, None), TIME_LIMIT_S)
        if isinstance(result, MediaError):
            raise result
        return result


def count_votes(answers: list[str]) -> tuple[int, tuple[Vote, ...]]:
    """The index of the first answer that says what most say, and the votes, the most frequent first.

    Answers that differ in case, white space or final punctuation only are the same; empty ones do not count.

    >>> count_votes(["red ring", "A blue disc.", "a blue disc"])
    (1, (Vote(answer='A blue disc.', count=2), Vote(answer='red ring', count=1)))
    """
    keys = [" ".join(answer.casefold().split()).strip(" .!\"'") or None for answer in answers]
    won = majority(keys)
    counts = Counter(key for key in keys if key is not None)
    votes = tuple(Vote(answers[keys.index(key)], count) for key, count in counts.most_common())
    return (0 if won is None else keys.index(won)), votes
