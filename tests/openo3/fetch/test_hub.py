import pytest

from openo3.fetch.hub import HubRepo
from openo3.fetch.plan import FetchError, Unavailable
from openo3.fetch.random_access import read
from tests.support.archives import noise

FILES = {"json/a.json": b"[]", "v/a b.mp4": noise(90_000), "v/c.mp4": b"c", "v/d.mp4": b"d", "z.zip": b"z"}


def test_every_page_of_the_tree_is_read_at_one_commit(server, http):
    first = server.dataset("owner/name", {"v/old.mp4": b"old"})
    newest = server.dataset("owner/name", FILES)
    repo = HubRepo.open(http, "owner/name", None)
    assert repo.commit == newest
    assert set(repo.files()) == set(FILES)
    assert set(repo.files("v")) == {"v/a b.mp4", "v/c.mp4", "v/d.mp4"}
    pinned = HubRepo.open(http, "owner/name", first)
    assert set(pinned.files()) == {"v/old.mp4"}
    assert pinned.files()["v/old.mp4"].address == f"hf://datasets/owner/name@{first}/v/old.mp4"


def test_a_file_is_read_by_ranges_from_the_redirect_target(server, http):
    server.dataset("owner/name", FILES)
    file = HubRepo.open(http, "owner/name", "main").files("v")["v/a b.mp4"]
    assert file.size == 90_000
    assert read(file, 80_000, 80_100) == FILES["v/a b.mp4"][80_000:80_100]
    assert server.sent("a b.mp4") == 100


def test_the_token_is_sent_only_to_the_hub(server, http):
    server.token = "hf_secret"
    server.dataset("owner/name", FILES)
    file = HubRepo.open(http, "owner/name", None).files("v")["v/c.mp4"]
    assert read(file, 0, 1) == b"c"
    by_path = {request.path: request.authorization for request in server.requests}
    assert "Bearer hf_secret" in by_path.values()
    assert [value for path, value in by_path.items() if path.startswith("/storage")] == [None]
    assert "hf_secret" not in repr(file) + file.identity + file.name


def test_denied_access_gives_one_line_with_what_to_do(server, http):
    server.token = "hf_another"
    server.dataset("owner/name", FILES)
    file = HubRepo.open(http, "owner/name", None).files("v")["v/c.mp4"]
    with pytest.raises(
        FetchError, match=r"c\.mp4: status 401; log in with `hf auth login` or set HF_TOKEN"
    ) as error:
        read(file, 0, 1)
    assert "hf_" not in str(error.value).replace("HF_TOKEN", "")


@pytest.mark.parametrize(
    ("name", "revision", "reason"),
    [("no/body", None, "no such data set"), ("owner/name", "0" * 40, "no such revision")],
)
def test_a_missing_repository_or_file_is_named(server, http, name, revision, reason):
    server.dataset("owner/name", FILES)
    with pytest.raises(Unavailable, match=reason):
        HubRepo.open(http, name, revision)


def test_a_missing_folder_is_named(server, http):
    server.dataset("owner/name", FILES)
    with pytest.raises(Unavailable, match="owner/name/x: no such file"):
        HubRepo.open(http, "owner/name", None).files("x")


def test_offline_mode_is_named_as_the_cause(server, http, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FetchError, match="HF_HUB_OFFLINE=1 forbids"):
        HubRepo.open(http, "owner/name", None)


def test_an_unreachable_hub_is_an_error(http, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match="the hub does not answer"):
        HubRepo.open(http, "owner/name", None)


def test_a_folder_is_listed_only_once(server, http):
    server.dataset("owner/name", FILES)
    repo = HubRepo.open(http, "owner/name", None)
    repo.files("v")
    server.requests.clear()
    assert set(repo.files("v")) == {"v/a b.mp4", "v/c.mp4", "v/d.mp4"}
    assert server.requests == []
