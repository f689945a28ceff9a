"""Wrong arguments of `make ui` are reported in one line before anything starts."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.ui import serve_pages
from tests.support.browser import BROWSER, Browser
from tests.support.checkout import ROOT
from tests.support.ports import free_port


def ui(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.ui", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("beside", [0, 1], ids=["server", "pages"])
def test_a_taken_port_is_reported_in_one_line(tmp_path: Path, beside: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = ui(tmp_path, "--port", str(port - beside))
    assert done.returncode == 2
    assert f"port {port}, for" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["65535", "0", "-1", "http"])
def test_an_invalid_port_is_reported_in_one_line(tmp_path: Path, port: str) -> None:
    done = ui(tmp_path, f"--port={port}")
    assert done.returncode == 2
    assert f"argument --port: '{port}' is not a port between 1 and 65534" in done.stderr
    assert "Traceback" not in done.stderr


PAGE = """<body>waiting<script>window.taken = [];</script>
<script src="URL/look/data/index.js" onerror="taken.push('blocked')" onload="taken.push('read')"></script>
<iframe src="URL/index.html"></iframe>
<script>onload = () => document.body.innerText = taken.join() + " " + frames.length;</script></body>"""


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("flows.ui._Pages.timeout", 0.5)
    (tmp_path / "look/data").mkdir(parents=True)
    (tmp_path / "look/data/index.js").write_text("taken.push('a question')")
    (tmp_path / "index.html").write_text("<h1>Report</h1>")
    server = serve_pages(tmp_path, 0)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_reports_data_is_no_script_of_another_origin(pages: str, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/page.html").write_text(PAGE.replace("URL", pages))
    foreign = serve_pages(tmp_path / "foreign", 0)
    with Browser() as browser:
        tab = browser.open(f"http://127.0.0.1:{foreign.server_port}/page.html")
        tab.wait("!document.body.innerText.includes('waiting')")
        assert tab.run("document.body.innerText") == "blocked 1"
        tab = browser.open(f"{pages}/index.html")
        assert tab.run("document.body.innerText") == "Report"
    foreign.shutdown()
    foreign.server_close()


def test_a_connection_to_the_reports_without_a_request_is_closed(pages: str) -> None:
    host, port = pages.removeprefix("http://").split(":")
    for sent in (b"", b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
        with socket.create_connection((host, int(port)), timeout=20) as silent:
            silent.sendall(sent)
            assert silent.recv(10) == b""


@pytest.mark.slow
def test_an_invalid_schedule_is_reported_in_one_line(tmp_path: Path) -> None:
    done = ui(tmp_path, "--port", str(free_port()), "--cron", "every night")
    assert done.returncode == 2
    assert done.stderr.endswith("argument --cron: 'every night' is not a cron schedule such as '0 3 * * *'\n")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".cache/prefect/server.log").exists()
