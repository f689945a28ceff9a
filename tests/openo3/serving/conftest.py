"""A server with the shipped model on a free port, in a thread of its own."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from openo3.inference.model import Model, load
from openo3.serving.app import Access, create_app
from openo3.serving.decoders import Decoder
from openo3.serving.limits import ServingLimits
from tests.support.asgi import served
from tests.support.clips import clip

MODEL = Path(__file__).parents[3] / "data/tiny-qwen3-vl"
NAME = MODEL.name
SMALL = ServingLimits(
    concurrent=4, queued=2, request_mb=1.0, clip_mb=2.0, clip_s=30.0, question_chars=500, max_tokens=64,
    answers=3, time_s=240.0, body_s=5.0, uploads=3,
)  # fmt: skip


@pytest.fixture(scope="session")
def model() -> Model:
    return load(MODEL)


@contextmanager
def serving(
    model: Model,
    limits: ServingLimits = SMALL,
    access: Access | None = None,
    decoder: Decoder | None = None,
) -> Iterator[str]:
    """The server's address while the block lasts."""
    with served(create_app(model, limits, access or Access(), decoder)) as address:
        yield address


@pytest.fixture(scope="module")
def address(model: Model) -> Iterator[str]:
    with serving(model) as found:
        yield found


@pytest.fixture
def client(address: str) -> OpenAI:
    return client_of(address)


def client_of(address: str, key: str = "none", **options: object) -> OpenAI:
    return OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def data_url(path: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def about(path: Path | None, question: str = "What is it?") -> list[dict]:
    """Messages that ask about a clip."""
    parts: list[dict] = [{"type": "text", "text": question}]
    if path is not None:
        parts.insert(0, {"type": "video_url", "video_url": {"url": data_url(path)}})
    return [{"role": "user", "content": parts}]
