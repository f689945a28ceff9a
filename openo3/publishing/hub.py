"""Upload the model folder to the hub.

Only `push` uses the network. The token is that of `hf auth login` or `HF_TOKEN`. It is never printed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from openo3.inference.checkout import RECORD
from openo3.publishing.folder import MADE_BY, fill, is_published
from openo3.publishing.run import PublishError, Run, is_hub_name


def check_name(name: str) -> None:
    """Raises `PublishError` if it is not OWNER/NAME."""
    if not is_hub_name(name):
        raise PublishError(f"hub:{name}: not the name of a repository, OWNER/NAME")


def push(run: Run, name: str, *, private: bool = True) -> str:
    """Upload the folder in one commit and return the commit's URL.

    The repository is new or was published before. `HF_ENDPOINT` names another hub.

    Raises `PublishError` if the repository has other contents, or the hub refuses.
    """
    check_name(name)
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        _check_repository(api, name)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            fill(run, folder, name.partition("/")[2])
            api.create_repo(name, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=name, folder_path=folder, commit_message=f"Checkpoint {run.name}, by {MADE_BY}"
            )
    except OfflineModeIsEnabled:
        raise PublishError(f"hub:{name}: HF_HUB_OFFLINE=1 forbids asking the hub; set it to 0") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        login = "; log in with `hf auth login`" if status in (401, 403) else ""
        raise PublishError(f"hub:{name}: the hub answers with status {status}{login}") from None
    except (OSError, ValueError, httpx2.RequestError) as error:
        why = without_token(str(error)) or type(error).__name__
        raise PublishError(f"hub:{name}: {why}") from None
    return str(done.commit_url)


def _check_repository(api: HfApi, name: str) -> None:
    """Raises `PublishError` if there is a repository of that name that was not published from here."""
    try:
        listed = set(api.list_repo_files(name))
    except RepositoryNotFoundError:
        return
    if listed <= {".gitattributes"}:
        return
    if RECORD in listed:
        with tempfile.TemporaryDirectory() as folder:
            if is_published(Path(api.hf_hub_download(name, RECORD, local_dir=folder))):
                return
    raise PublishError(f"hub:{name}: exists and was not written by {MADE_BY}, so it is left alone")


def without_token(text: str) -> str:
    """One line of text without the user's token."""
    token = get_token()
    line = " ".join(text.split())
    return line.replace(token, "***") if token else line
