"""Files of a hub dataset at one commit.

    repo = HubRepo.open(http, "marinero4972/Open-o3-Video", revision=None)     the newest commit, then pinned
    repo.files("videos/")                                                      path -> HttpFile

`HF_ENDPOINT` selects another hub. The token comes from `HF_TOKEN` or `hf auth login`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import httpx2

from openo3.fetch.http import BUSY, LOGIN, Broken, Http, HttpFile, retry_after
from openo3.fetch.plan import FetchError, Unavailable

if TYPE_CHECKING:
    from huggingface_hub.hf_api import HfApi, RepoFile

T = TypeVar("T")


@dataclass(frozen=True)
class HubRepo:
    http: Http
    name: str
    commit: str
    _listed: dict[str, Mapping[str, HttpFile]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, http: Http, name: str, revision: str | None) -> HubRepo:
        """Resolve a branch, a tag or None (the newest) to its commit.

        Raises `Unavailable` if there is no such dataset or revision, `FetchError` without access to it.
        """
        ask = partial(_api().dataset_info, name, revision=revision)
        commit = _ask(http, f"hf://datasets/{name}", ask).sha
        if commit is None:
            raise FetchError(f"hf://datasets/{name}: the hub names no commit")
        return cls(http, name, commit)

    def files(self, folder: str = "") -> Mapping[str, HttpFile]:
        """The files below a folder by their path in the dataset. Each folder is listed once."""
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        return self._listed[folder]

    def _list(self, folder: str) -> Mapping[str, HttpFile]:
        from huggingface_hub.hf_api import RepoFile, RepoFolder

        def tree() -> list[RepoFile | RepoFolder]:
            found = _api().list_repo_tree(
                self.name, folder or None, recursive=True, revision=self.commit, repo_type="dataset"
            )
            return list(found)

        entries = _ask(self.http, f"hf://datasets/{self.name}/{folder}", tree)
        return {entry.path: self._file(entry) for entry in entries if isinstance(entry, RepoFile)}

    def _file(self, entry: RepoFile) -> HttpFile:
        from huggingface_hub import get_token, hf_hub_url

        url = hf_hub_url(
            self.name, entry.path, repo_type="dataset", revision=self.commit, endpoint=_endpoint()
        )
        token = get_token()
        return HttpFile(
            self.http,
            url,
            entry.size,
            sha256=entry.lfs.sha256 if entry.lfs else None,
            pinned=f"hf://datasets/{self.name}@{self.commit}/{entry.path}",
            git=None if entry.lfs else entry.blob_id,  # the ID of an LFS file is that of its pointer
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint())


def _ask(http: Http, what: str, call: Callable[[], T]) -> T:
    """The hub's answer. Errors of its library become one-line errors of this package."""
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
        return http.retry(attempt)
    except Broken as error:
        raise FetchError(f"{what}: the hub does not answer ({error}); run again later") from None
