"""Files of a hub dataset at one commit.

    repo = HubRepo.open(http, "marinero4972/Open-o3-Video", revision=None)     the newest commit, then pinned
    repo.files("videos/")                                                      path -> HttpBlob

`HF_ENDPOINT` names another hub, and the token comes from `HF_TOKEN` or from `hf auth login`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from openo3.fetch.http import LOGIN, Http, HttpBlob
from openo3.fetch.plan import FetchError, Unavailable


@dataclass(frozen=True)
class HubRepo:
    http: Http
    name: str
    commit: str

    @classmethod
    def open(cls, http: Http, name: str, revision: str | None) -> HubRepo:
        """Resolve a branch, a tag or None (the newest) to its commit.

        Raises `Unavailable` if there is no such dataset or revision, `FetchError` without access to it.
        """
        with _hub_errors(f"hf://datasets/{name}"):
            return cls(http, name, _api().dataset_info(name, revision=revision).sha)

    def files(self, folder: str = "") -> Mapping[str, HttpBlob]:
        """Every file below a folder by its path in the dataset."""
        from huggingface_hub.hf_api import RepoFile

        with _hub_errors(f"hf://datasets/{self.name}/{folder}"):
            tree = _api().list_repo_tree(
                self.name, folder or None, recursive=True, revision=self.commit, repo_type="dataset"
            )
            return {entry.path: self._blob(entry) for entry in tree if isinstance(entry, RepoFile)}

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
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _api() -> object:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint())


class _hub_errors:
    """What the hub's library raises, in one line each."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        if isinstance(error, OfflineModeIsEnabled):
            raise FetchError(f"{self._what}: HF_HUB_OFFLINE=1 forbids asking the hub; set it to 0") from None
        if isinstance(error, GatedRepoError):
            raise FetchError(f"{self._what}: {LOGIN}") from None
        if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError | EntryNotFoundError):
            missing = {RepositoryNotFoundError: "data set", RevisionNotFoundError: "revision"}
            raise Unavailable(
                "missing", f"{self._what}: no such {missing.get(type(error), 'file')}"
            ) from None
        if isinstance(error, HfHubHTTPError | OSError):
            status = getattr(getattr(error, "response", None), "status_code", None)
            what = f"status {status}" if status else type(error).__name__
            raise FetchError(f"{self._what}: the hub does not answer ({what}); run again later") from None
