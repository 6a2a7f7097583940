"""Clients of AWS: what every one of them is like."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from siutindei.adapters import aws
from siutindei.app.ports import Unusable

if TYPE_CHECKING:
    from pathlib import Path

REGION: Final = "ap-southeast-1"


def test_a_client_tries_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says of retries, a call is made once, with the times given."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    monkeypatch.setenv("AWS_RETRY_MODE", "legacy")

    config = aws.client("sesv2", region=REGION, read_timeout=3).meta.config

    assert {"total_max_attempts": 1, "mode": "standard"} == config.retries
    assert (1.0, 3, True) == (config.connect_timeout, config.read_timeout, config.tcp_keepalive)


def test_a_client_is_of_the_region_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The region is the one that is asked for, and the address is the service's own there."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    made = aws.client("sesv2", region=REGION, read_timeout=3)

    assert made.meta.region_name == REGION
    assert made.meta.endpoint_url == f"https://email.{REGION}.amazonaws.com"


def test_a_client_asks_whom_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`AWS_ENDPOINT_URL` names another address for all services: an emulator's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")

    made = aws.client("sqs", region=REGION, read_timeout=3)

    assert made.meta.endpoint_url == "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "no address")]
)
def test_a_configuration_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    """It is said to be that, and its text is not repeated."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv(name, value)

    with pytest.raises(Unusable, match="configuration of AWS") as raised:
        aws.client("sesv2", region=REGION, read_timeout=3)

    assert value not in str(raised.value)


@pytest.mark.parametrize("missing", ["boto3", "botocore.config"])
def test_without_boto3(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Who has not installed the extra is told its name."""
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(Unusable, match=r"pip install 'siutindei\[aws\]'"):
        aws.client("sesv2", region=REGION, read_timeout=3)


def test_a_package_that_boto3_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that fails inside for another reason is not taken for a missing extra."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "boto3"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jmespath", None)
    for name in [name for name in sys.modules if name.startswith("botocore")]:
        monkeypatch.delitem(sys.modules, name)

    with pytest.raises(ImportError, match="jmespath"):
        aws.client("sesv2", region=REGION, read_timeout=3)


@pytest.mark.slow
def test_boto3_is_loaded_when_it_is_used(tmp_path: Path) -> None:
    """A command that needs nothing of AWS does not load its packages."""
    code = (
        "import sys; from siutindei.entrypoints.cli import main; "
        "main(['config'], standalone_mode=False)\n"
        "assert 'siutindei.settings' in sys.modules\n"
        "print(sorted({'boto3', 'botocore'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": ""},
        check=False,
    )

    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
