"""A finished run is pushed to a DVC remote and pulled into a clone, where no stage has to rerun."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BUCKET = "openo3"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an S3 server with one bucket; its credentials are in the environment, as usual."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def run(finished: Checkout, tmp_path: Path) -> Checkout:
    """The finished run with its results committed, as the README says."""
    checkout = finished.copy(tmp_path / "here")
    checkout.run("git", "add", "--all")
    commit(checkout, "a run")
    return checkout


def commit(checkout: Checkout, message: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    checkout.run("git", *identity, "commit", "--all", "--quiet", "--message", message)


def there_and_back(run: Checkout, clone: Path) -> None:
    """Push, clone, pull: the clone has every output and finds nothing to do."""
    commit(run, "a remote")
    run.run("dvc", "push")
    assert "up to date" in run.run("dvc", "push"), "a second push has nothing to send"
    run.run("git", "clone", "--quiet", str(run.folder), str(clone))
    elsewhere = Checkout(clone)
    elsewhere.run("dvc", "pull")
    assert elsewhere.repro()["unchanged"] == run.stages()
    assert elsewhere.outputs() == run.outputs()
    assert all((clone / path).exists() for path in run.outputs())


def test_a_folder_remote_restores_the_run_in_a_clone(run: Checkout, tmp_path: Path) -> None:
    run.run("dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    there_and_back(run, tmp_path / "there")


def test_an_s3_remote_restores_the_run_in_a_clone(run: Checkout, s3: str, tmp_path: Path) -> None:
    run.run("dvc", "remote", "add", "--default", "storage", f"s3://{BUCKET}/runs")
    run.run("dvc", "remote", "modify", "storage", "endpointurl", s3)
    there_and_back(run, tmp_path / "there")
    stored = boto3.client("s3", endpoint_url=s3).list_objects_v2(Bucket=BUCKET, Prefix="runs/files/md5/")
    assert stored["KeyCount"] > 10
