"""One file behind an address: bounded, and never from a private network."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from openo3.fetch.one_file import download, transfer
from openo3.fetch.plan import FetchError

CONTENT = bytes(range(256)) * 40


class Site(BaseHTTPRequestHandler):
    """`/clip` has a length, `/endless` does not say its own."""

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/clip":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", ["clip", "endless"])
def test_a_file_is_fetched_whole_or_refused_for_its_size(http, site, tmp_path, name):
    transfer(http, f"{site}/{name}", tmp_path / "clip", len(CONTENT), 60)
    assert (tmp_path / "clip").read_bytes() == CONTENT
    with pytest.raises(FetchError, match="bytes"):
        transfer(http, f"{site}/{name}", tmp_path / "clip", len(CONTENT) - 1, 60)


def test_a_missing_file_and_a_slow_one_are_named(http, site, tmp_path):
    with pytest.raises(FetchError, match="/missing: status 404"):
        transfer(http, f"{site}/missing", tmp_path / "clip", 1 << 20, 60)
    with pytest.raises(FetchError, match="not fetched within 0 s"):
        transfer(http, f"{site}/clip", tmp_path / "clip", 1 << 20, 0)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/a",
        "https://localhost/a",
        "https://[::1]/a",
        "https://10.1.2.3/a",
        "https://169.254.1.1/a",
    ],
)
def test_private_addresses_are_refused(tmp_path, url):
    with pytest.raises(FetchError, match="in a private network"):
        download(url, tmp_path / "clip", 1 << 20)


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "file:///etc/passwd", "https://", "https://[", "ftp://a/b"]
)
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(FetchError, match="not an https address"):
        download(url, tmp_path / "clip", 1 << 20)
