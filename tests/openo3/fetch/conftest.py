"""A local hub, and a client with short timeouts and few retries."""

from collections.abc import Iterator

import pytest

from openo3.fetch.http import Http
from openo3.fetch.limits import Limits
from tools.hub_server import HubServer

QUICK = Limits(threads=4, stall_s=0.4, tries=4, wait_s=0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def limits() -> Limits:
    return QUICK


@pytest.fixture
def http(limits: Limits) -> Iterator[Http]:
    with Http(limits) as http:
        yield http
