import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from openo3.fetch.addresses import enters_private_network
from openo3.fetch.http import Http, Interrupted, shown
from openo3.fetch.plan import Unavailable, Unfinished
from openo3.fetch.random_access import read
from tests.support.archives import noise
from tools.hub_server import Break, Do, Page, Stall, Status, Trickle

CONTENT = noise(700_000)


@pytest.fixture
def url(server):
    return server.put("a b@é:.mp4", CONTENT).replace(" ", "%20")


def whole(file) -> bytes:
    with file.stream() as stream:
        return b"".join(iter(lambda: stream.read(100_000), b""))


def test_size_and_version_are_requested_with_one_byte(server, http, url):
    file = http.file(url)
    assert (file.size, bool(file.tag), file.resumable) == (700_000, True, True)
    assert server.sent() == 1


def test_ranges_return_exactly_the_requested_bytes(server, http, url):
    file = http.file(url)
    assert read(file, 600_000, 600_010) == CONTENT[600_000:600_010]
    assert read(file, 0, 3) == CONTENT[:3]
    assert server.sent() == 14
    assert whole(file) == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        Break(0),
        Break(300_000),
        Stall(300_000),
        Status(500),
        Status(429, {"Retry-After": "0"}),
        Status(503, {"Retry-After": "soon"}),
    ],
    ids=str,
)
def test_temporary_failures_are_retried_without_reading_bytes_twice(server, http, url, fault):
    file = http.file(url)
    server.requests.clear()
    server.spoil("/a b@é:.mp4", fault, fault)
    assert whole(file) == CONTENT
    assert server.sent() == len(CONTENT)
    assert len(server.requests) == 3


def test_retry_after_in_seconds_is_respected(server, http, url):
    file = http.file(url)
    server.spoil("/a b@é:.mp4", Status(429, {"Retry-After": "1"}))
    start = time.monotonic()
    assert whole(file) == CONTENT
    assert 1 <= time.monotonic() - start < 3


def test_retry_after_as_a_date_is_parsed(server, http, url):
    server.spoil("/a b@é:.mp4", Status(503, {"Retry-After": formatdate(time.time() - 5, usegmt=True)}))
    assert http.file(url).size == 700_000


def test_too_many_failures_are_an_error(server, http, url):
    file = http.file(url)
    server.spoil("/a b@é:.mp4", *[Status(500)] * 9)
    with pytest.raises(Unfinished, match=r"^http://127\.0\.0\.1:\d+/a%20b@é:\.mp4: status 500$"):
        whole(file)
    assert len(server.requests) == 1 + 4


def test_only_consecutive_failures_count(server, http, url):
    file = http.file(url)
    server.spoil("/a b@é:.mp4", *[Break(70_000)] * 9)
    assert whole(file) == CONTENT


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_between_two_ranges_is_detected(server, http, url, etags):
    server.etags = etags
    file = http.file(url)
    assert read(file, 0, 10) == CONTENT[:10]
    server.put("a b@é:.mp4", noise(700_000 if etags else 700_001, seed=1))
    with pytest.raises(Unfinished, match="changed on the server during the download"):
        read(file, 10, 20)


def test_a_file_that_changes_during_a_reconnect_is_detected(server, http, url):
    file = http.file(url)
    change = Do(lambda: server.put("a b@é:.mp4", noise(700_000, seed=1)))
    server.spoil("/a b@é:.mp4", Break(300_000), change)
    with pytest.raises(Unfinished, match="changed on the server"):
        whole(file)


def test_a_file_that_became_shorter_is_detected(server, http, url):
    file = http.file(url)
    server.etags = False
    server.put("a b@é:.mp4", CONTENT[:10])
    with pytest.raises(Unfinished, match="changed"):
        read(file, 300, 400)


def test_a_file_without_a_version_is_not_resumed(server, http, url):
    server.etags = False
    assert not http.file(url).resumable


@pytest.mark.parametrize(
    ("fault", "problem", "reason"),
    [
        (Page(), "unreadable", "a web page instead of the file"),
        (Status(404), "missing", "status 404"),
        (Status(403), "missing", "status 403"),
        (Status(410), "missing", "status 410"),
        (Status(302, {"Location": "ftp://elsewhere/x"}), "missing", "unsupported protocol"),
    ],
    ids=str,
)
def test_permanent_failures_give_one_reason(server, http, url, fault, problem, reason):
    server.spoil("/a b@é:.mp4", fault)
    with pytest.raises(Unavailable) as error:
        http.file(url)
    assert error.value.problem == problem
    assert reason in error.value.detail
    assert "\n" not in error.value.detail


def test_a_server_without_ranges_serves_only_whole_files(server, http, url):
    server.ranges = False
    file = http.file(url)
    assert whole(file) == CONTENT
    with pytest.raises(Unavailable, match="does not support ranges"):
        read(file, 100, 200)


def test_a_break_on_a_server_without_ranges_is_no_verdict_on_the_file(server, http, url):
    file = http.file(url)
    server.ranges = False
    server.spoil("/a b@é:.mp4", *[Break(1000)] * 20)
    with pytest.raises(Unfinished, match="does not support ranges, so it cannot resume"):
        whole(file)


def test_an_unreachable_server_is_an_error(http):
    with pytest.raises(Unfinished, match=r"127\.0\.0\.1:9/x: the connection broke \(ConnectError\)"):
        http.file("http://127.0.0.1:9/x")


def test_the_bandwidth_limit_is_shared_by_all_connections(server, limits, url):
    with Http(replace(limits, bandwidth_mb_s=2.0)) as http:
        file = http.file(url)
        start = time.monotonic()
        whole(file)
        assert 0.3 < time.monotonic() - start < 1.5  # 0.7 MB


def test_addresses_are_shown_without_secrets():
    assert shown("https://me:pass@example.org:8/a/b.mp4?token=secret#x") == "https://example.org:8/a/b.mp4"


@pytest.mark.parametrize("where", ["continue", "headers", "body"])
def test_an_endless_response_is_aborted(server, limits, url, where):
    with Http(replace(limits, tries=2, stall_s=0.3)) as http:
        file = http.file(url)
        server.spoil("/a b@é:.mp4", *[Trickle(where)] * 10)
        start = time.monotonic()
        with pytest.raises(Unfinished):
            whole(file)
        assert time.monotonic() - start < 5


def test_a_server_that_breaks_after_every_byte_is_abandoned(server, limits, url):
    with Http(limits) as http:
        file = http.file(url)
        server.requests.clear()
        server.spoil("/a b@é:.mp4", *[Break(1)] * 100)
        with pytest.raises(Unfinished, match="the connection"):
            whole(file)
        assert len(server.requests) == limits.tries


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "[fe80::1]", "[fd00::1]", "192.168.1.1"])
def test_a_redirect_into_another_private_network_is_not_followed(server, http, host):
    server.spoil("/a.mp4", Status(302, {"Location": f"http://{host}:9/secret"}))
    with pytest.raises(Unavailable, match="in a private network") as error:
        http.file(server.put("a.mp4", b"x"))
    assert error.value.problem == "unsafe"


@pytest.mark.parametrize(
    ("first", "then", "inside"),
    [
        ("8.8.8.8", "127.0.0.1", True),
        ("8.8.8.8", "0.0.0.0", True),
        ("8.8.8.8", "2130706433", True),  # 127.0.0.1 as a single number
        ("8.8.8.8", "::ffff:127.0.0.1", True),
        ("8.8.8.8", "localhost", True),
        ("8.8.8.8", "192.168.0.1", True),
        ("8.8.8.8", "1.1.1.1", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "8.8.8.8", False),
        ("10.0.0.1", "192.168.0.1", False),
        ("8.8.8.8", "64:ff9b::7f00:1", True),  # as a NAT64 gateway writes it
        ("8.8.8.8", "64:ff9b::808:808", False),
        ("8.8.8.8", "a..b", False),
    ],
)
def test_private_network_addresses_are_recognised(first, then, inside):
    assert enters_private_network(first, then) == inside


def test_a_redirect_is_recorded_with_its_final_address(server, http):
    url = server.put("a.mp4", b"content")
    place = f"{server.storage}/a.mp4"
    server.put("first.mp4", b"")
    server.spoil("/first.mp4", Status(302, {"Location": f"{place}?token=secret"}))
    file = http.file(f"{server.url}/first.mp4")
    assert file.address.startswith(f"{place}@")
    assert url not in file.address
    assert "secret" not in file.address


@pytest.mark.parametrize(
    "fault",
    [
        Status(302, {"Location": "http://a..b/"}),
        Status(302, {"Location": "http://[/"}),
        Status(302, {"Location": "/a.mp4"}),
        Status(206, {"Content-Range": "bytes 0-0/" + "9" * 5000}),
        Status(503, {"Retry-After": "Fri, 31 Dec 99999999999 23:59:59 GMT"}),
        Status(503, {"Retry-After": "9" * 5000}),
    ],
    ids=lambda fault: str(fault)[:60],
)
def test_invalid_headers_give_one_reason(server, http, monkeypatch, fault):
    monkeypatch.setattr("openo3.fetch.http._MAX_WAIT_S", 0.01)
    url = server.put("a.mp4", b"x")
    server.spoil("/a.mp4", *[fault] * 20)
    with pytest.raises((Unavailable, Unfinished)) as error:
        http.file(url)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("validator", ["weak", "none", "date"])
def test_without_a_strong_validator_nothing_is_resumed(server, http, url, validator):
    server.weak, server.etags = validator == "weak", validator == "weak"
    file = http.file(url)
    if validator == "date":
        file = replace(file, tag="Fri, 01 Nov 2024 00:00:00 GMT")
    assert not file.resumable
    server.spoil("/a b@é:.mp4", Break(300_000))
    with pytest.raises(Interrupted):
        whole(file)
