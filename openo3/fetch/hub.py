"""Files of a hub dataset at one commit.

    repo = HubRepo.open(http, "marinero4972/Open-o3-Video", revision=None)     the newest commit, then pinned
    repo.files("videos/")                                                      path -> HttpBlob

`HF_ENDPOINT` names another hub, and the token comes from `HF_TOKEN` or from `hf auth login`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import httpx2

from openo3.fetch.http import BUSY, LOGIN, Broken, Http, HttpBlob, retry_after
from openo3.fetch.plan import FetchError, Unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class HubRepo:
    http: Http
    name: str
    commit: str
    _listed: dict[str, Mapping[str, HttpBlob]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, http: Http, name: str, revision: str | None) -> HubRepo:
        """Resolve a branch, a tag or None (the newest) to its commit.

        Raises `Unavailable` if there is no such dataset or revision, `FetchError` without access to it.
        """
        ask = partial(_api().dataset_info, name, revision=revision)
        return cls(http, name, _asked(http, f"hf://datasets/{name}", ask).sha)

    def files(self, folder: str = "") -> Mapping[str, HttpBlob]:
        """Every file below a folder by its path in the dataset; the hub is asked once for each folder."""
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        return self._listed[folder]

    def _list(self, folder: str) -> Mapping[str, HttpBlob]:
        from huggingface_hub.hf_api import RepoFile

        def tree() -> list[object]:
            found = _api().list_repo_tree(
                self.name, folder or None, recursive=True, revision=self.commit, repo_type="dataset"
            )
            return list(found)

        entries = _asked(self.http, f"hf://datasets/{self.name}/{folder}", tree)
        return {entry.path: self._blob(entry) for entry in entries if isinstance(entry, RepoFile)}

    def _blob(self, entry: object) -> HttpBlob:
        from huggingface_hub import get_token, hf_hub_url

        url = hf_hub_url(
            self.name, entry.path, repo_type="dataset", revision=self.commit, endpoint=_endpoint()
        )
        token = get_token()
        return HttpBlob(
            self.http,
            url,
            entry.size,
            sha256=entry.lfs.sha256 if entry.lfs else None,
            pinned=f"hf://datasets/{self.name}@{self.commit}/{entry.path}",
            git=None if entry.lfs else entry.blob_id,  # with LFS it is the id of the pointer
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _api() -> object:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint())


def _asked(http: Http, what: str, call: Callable[[], T]) -> T:
    """The hub's answer; what its library raises becomes one line."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def attempt() -> T:
        try:
            return call()
        except OfflineModeIsEnabled:
            raise FetchError(f"{what}: HF_HUB_OFFLINE=1 forbids asking the hub; set it to 0") from None
        except GatedRepoError:
            raise FetchError(f"{what}: {LOGIN}") from None
        except RepositoryNotFoundError:
            raise Unavailable("missing", f"{what}: no such data set, or a login is needed") from None
        except RevisionNotFoundError:
            raise Unavailable("missing", f"{what}: no such revision") from None
        except EntryNotFoundError:
            raise Unavailable("missing", f"{what}: no such file") from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in BUSY:
                raise Broken(f"status {status}", retry_after(error.response)) from None
            raise FetchError(f"{what}: the hub answers with status {status}") from None
        except httpx2.RequestError as error:
            raise Broken(type(error).__name__) from None

    try:
        return http.patiently(attempt)
    except Broken as error:
        raise FetchError(f"{what}: the hub does not answer ({error}); run again later") from None
