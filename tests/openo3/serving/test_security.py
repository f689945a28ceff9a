"""Who may ask, what is fetched, and what a browser may do."""

from __future__ import annotations

import httpx
import openai
import pytest

from openo3.cli import main as cli
from openo3.fetch.http import Http
from openo3.fetch.limits import Limits
from openo3.fetch.plan import Unavailable
from openo3.inference.model import Model
from openo3.serving.app import Access
from openo3.serving.clips import data_of
from openo3.serving.errors import ApiError
from tests.openo3.serving.conftest import MODEL, NAME, client_of, serving

KEY = "a key of more than sixteen characters"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1"])
def test_without_a_key_only_this_machine_is_answered(address: str, host: str) -> None:
    answer = httpx.get(f"{address}/v1/models", headers={"Host": host})
    assert answer.status_code in (400, 403)
    port = address.rpartition(":")[2]
    assert httpx.get(f"{address}/v1/models", headers={"Host": f"localhost:{port}"}).status_code == 200


def test_pages_of_other_sites_are_refused(address: str) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "What?"}]}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = httpx.post(f"{address}/v1/chat/completions", json=body, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    as_form = httpx.post(
        f"{address}/v1/chat/completions", content="{}", headers={"Content-Type": "text/plain"}
    )
    assert as_form.status_code == 415


def test_the_page_may_load_nothing_from_elsewhere(address: str) -> None:
    answer = httpx.get(address)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in answer.text.replace("http-equiv", "")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert httpx.get(f"{address}/docs").status_code == 404
    assert httpx.get(f"{address}/../../etc/passwd").status_code == 404


def test_with_a_key_everything_but_the_page_needs_it(model: Model) -> None:
    with serving(model, access=Access(api_key=KEY)) as address:
        assert httpx.get(address, headers={"Host": "my.server"}).status_code == 200
        assert httpx.get(f"{address}/status").status_code == 401
        assert httpx.post(f"{address}/v1/files").status_code == 401
        with pytest.raises(openai.AuthenticationError, match="missing or wrong"):
            client_of(address, "another key altogether").models.list()
        assert client_of(address, KEY).models.list().data[0].id == NAME


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "set a key with --api-key"),
        (["--host", "0.0.0.0", "--api-key", "short"], "at least 16"),
        (["--port", "70000"], "expected 0 to 65535"),
        (["--concurrent", "0"], "must be a number greater than 0"),
        (["--vllm", "{}"], "not installed here"),
    ],
)
def test_the_command_refuses_bad_arguments_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENO3_API_KEY", raising=False)
    assert cli.main(["serve", "--model", str(MODEL), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


PRIVATE = [
    "https://127.0.0.1/a.mp4", "https://localhost/a.mp4", "https://[::1]/a.mp4", "https://0.0.0.0/",
    "https://10.0.0.1/a.mp4", "https://192.168.1.1/a", "https://169.254.169.254/latest/meta-data",
    "https://[fe80::1]/a", "https://[::ffff:127.0.0.1]/a", "https://2130706433/a", "https://[fd00::1]/",
]  # fmt: skip


def test_private_addresses_are_never_fetched(model: Model) -> None:
    with serving(model, access=Access(allow_https=True)) as address:
        for url in PRIVATE:
            parts = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "What?"}]
            with pytest.raises(openai.BadRequestError, match="not an address of the internet"):
                client_of(address).chat.completions.create(
                    model=NAME,
                    messages=[{"role": "user", "content": parts}],  # type: ignore[list-item]
                )
        others = ("http://example.org/a.mp4", "file:///etc/passwd", "ftp://example.org/a", "clip.mp4")
        for url in (*others, "https://[", "https://"):
            parts = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "What?"}]
            with pytest.raises(openai.BadRequestError, match="a clip is a data: address"):
                client_of(address).chat.completions.create(
                    model=NAME,
                    messages=[{"role": "user", "content": parts}],  # type: ignore[list-item]
                )


def test_proxies_and_plain_http_are_not_used_for_strangers_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with Http(Limits(tries=1), public=True) as http:
        with pytest.raises(Unavailable, match="not an address of the internet"):
            http.file("https://127.0.0.1/a.mp4")
        with pytest.raises(Unavailable, match="not https"):
            http.file("http://93.184.216.34/a.mp4")


@pytest.mark.parametrize(
    "url",
    ["data:", "data:video/mp4;base64", "data:;base64,%%%", "data:;base64,YQ", "data:;base64,\u00e4\u0130AA"],
)
def test_broken_data_addresses_are_refused(url: str) -> None:
    with pytest.raises(ApiError):
        data_of(url, 100)
