"""Pages of other origins and other users cannot reach the server that `make ui` starts."""

import re
import stat
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.flows.conftest import Server
from tests.flows.small_pipeline import until
from tests.support.browser import BROWSER, Browser
from tests.support.ports import free_port

pytestmark = pytest.mark.slow
FOREIGN = "http://attacker.example"
PROBE = """<body>waiting<script>
const api = "http://127.0.0.1:PORT/api";
const json = {"Content-Type": "application/json"};
const attempts = {
  simple: fetch(api + "/block_documents/filter", {method: "POST", body: "{}"}),
  preflighted: fetch(api + "/block_documents/filter", {method: "POST", headers: json, body: "{}"}),
  read: fetch(api + "/health"),
};
Promise.all(Object.entries(attempts).map(async ([name, attempt]) => {
  try { return name + "=read:" + await (await attempt).text(); } catch (error) { return name + "=blocked"; }
})).then(all => document.body.innerText = all.join(" "));
</script></body>"""


@pytest.fixture(scope="module")
def ui(done_pipeline, tmp_path_factory):
    """`flows.ui` in a checkout: its server, and the user and password it printed."""
    pipeline = done_pipeline.copy(tmp_path_factory.mktemp("access"))
    server = Server(free_port(), tmp_path_factory.mktemp("prefect"))
    env = server.env()
    del env["PREFECT_API_URL"]
    log = pipeline.folder / ".cache/ui.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "flows.ui", "--port", str(server.port), "--no-schedule"]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=pipeline.folder, env=env, stdout=file, stderr=file)
    try:
        until(lambda: "Log in with" in log.read_text() or process.poll() is not None, 90)
        user, password = re.search(r"Log in with: (\S+):(\S+)", log.read_text()).groups()
        yield server, (user, password)
    finally:
        process.terminate()
        process.wait(60)


def test_the_server_requires_the_printed_password(ui):
    server, auth = ui
    ask = f"{server.url}/api/admin/version"
    assert httpx.get(ask).status_code == 401
    assert httpx.get(ask, auth=("openo3", "guess")).status_code == 401
    assert httpx.get(ask, auth=auth).status_code == 200
    assert httpx.post(f"{server.url}/api/block_documents/filter", json={}).is_client_error


def test_a_foreign_origin_gets_no_cors_headers(ui):
    server, auth = ui
    url = f"{server.url}/api/admin/version"
    assert "access-control-allow-origin" not in httpx.get(url, auth=auth, headers={"Origin": FOREIGN}).headers
    own = httpx.get(url, auth=auth, headers={"Origin": server.url})
    assert own.headers["access-control-allow-origin"] == server.url
    asked = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    assert httpx.options(url, headers=asked).status_code == 400


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", ""])
def test_a_foreign_host_is_refused_by_the_server_and_the_pages(ui, host):
    server, auth = ui
    for url in (f"{server.url}/api/admin/version", f"http://127.0.0.1:{server.port + 1}/index.html"):
        assert httpx.get(url, auth=auth, headers={"Host": host}).status_code == 400


def test_a_change_needs_a_csrf_token(ui):
    server, auth = ui
    done = httpx.post(f"{server.url}/api/flows/", auth=auth, json={"name": "forged"})
    assert done.status_code == 403
    assert "CSRF" in done.text


def test_the_database_is_private(ui):
    server, _ = ui
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    files = [path for path in server.home.iterdir() if path.name.startswith(("prefect.db", "server.log"))]
    assert {path.name for path in files} >= {"prefect.db", "server.log"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_page_of_another_origin_reads_nothing_in_a_browser(ui, tmp_path):
    server, _ = ui
    (tmp_path / "probe.html").write_text(PROBE.replace("PORT", str(server.port)))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as foreign:
        threading.Thread(target=foreign.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{foreign.server_port}/probe.html"
        with Browser() as browser:
            page = browser.open(url)
            page.wait("document.body.innerText !== 'waiting'")
            shown = page.run("document.body.innerText")
        foreign.shutdown()
    assert shown == "simple=blocked preflighted=blocked read=blocked"
