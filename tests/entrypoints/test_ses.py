"""`ses status` and `ses setup`, as their users give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import pytest

from siutindei.app.ports import Unavailable
from tests.app.test_sending import ACCOUNT, DOMAIN, TOPIC, FakeSes
from tests.entrypoints.commands import Cli

if TYPE_CHECKING:
    from pathlib import Path

SETUP: Final = ("ses", "setup", "--topic-arn", TOPIC)


@pytest.fixture
def ses() -> FakeSes:
    """Give an account that is as it should be."""
    return FakeSes()


@pytest.fixture
def cli(tmp_path: Path, ses: FakeSes) -> Cli:
    """Give the command line on that account."""
    return Cli(tmp_path / "home", ses_settings=ses)


def test_an_account_that_is_right(cli: Cli) -> None:
    """A table with what was found; nothing is missing, and nothing is made on this machine."""
    done = cli("ses", "status")

    assert "production access" in done.out
    assert "not looked at" in done.out
    document = cli.json("ses", "status")
    assert (document["ok"], document["region"]) == (True, "ap-southeast-1")
    assert {"what", "standing", "found", "mend"} == set(document["needs"][0])
    assert not cli.home.exists()


def test_an_account_that_is_not_right(cli: Cli, ses: FakeSes) -> None:
    """Exit code 1, with what to do; the document says it too."""
    ses.state = attrs.evolve(ACCOUNT, production=False)

    done = cli("ses", "status", code=1)

    assert "the account is in the sandbox" in done.out
    document = cli.json("ses", "status", code=1)
    assert not document["ok"]
    assert ["production access"] == [
        one["what"] for one in document["needs"] if one["standing"] == "missing"
    ]


def test_an_account_is_set_up(tmp_path: Path) -> None:
    """What was done is said as it is done; the second time there is nothing to do."""
    cli = Cli(tmp_path / "home", ses_settings=FakeSes.empty())

    done = cli(*SETUP)

    assert f"done: {DOMAIN}: made known to SES\n  then put it into DNS: abc._domainkey" in done.out
    assert "done: siutindei-codes: made, delivery limit 300 s" in done.out
    assert cli(*SETUP).out == "nothing is missing that can be made here\n"
    assert cli.json("ses", "setup") == {"dry_run": False, "steps": []}
    cli("ses", "status", code=1)


def test_a_dry_run(tmp_path: Path) -> None:
    """What would be done is said, and nothing is done."""
    ses = FakeSes.empty()
    cli = Cli(tmp_path / "home", ses_settings=ses)

    done = cli("ses", "setup", "--dry-run")
    document = cli.json("ses", "setup", "--dry-run")

    assert "would do: siutindei-tickets: made" in done.out
    assert "done" not in done.out
    assert document["dry_run"]
    assert len(document["steps"]) == 7
    assert ses.told == []


def test_a_topic_is_needed(tmp_path: Path) -> None:
    """Without one, or with one that is none, it is wrong usage; nothing was done."""
    ses = FakeSes.empty()
    cli = Cli(tmp_path / "home", ses_settings=ses)

    assert "topic_arn: is needed" in cli("ses", "setup", code=2).err
    assert cli.json("ses", "setup", "--topic-arn", "x", code=2)["field"] == "topic_arn"
    assert ses.told == []


def test_a_code_that_lives_longer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that is needed is the life of a code, as the settings have it."""
    monkeypatch.setenv("SIUTINDEI_CODE_TTL", "600")

    done = cli("ses", "status", code=1)

    assert "siutindei ses setup: 600 s" in done.out


def test_ses_that_fails_in_between(cli: Cli, ses: FakeSes) -> None:
    """Not now, try again."""
    ses.sets = {}
    ses.error = Unavailable("CreateConfigurationSet: SES is asked too often")

    assert "asked too often" in cli(*SETUP, code=75).err


def test_ses_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 75 says that SES could not be reached, in a line."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")

    for words in (("ses", "status"), SETUP):
        done = Cli(tmp_path / "home")(*words, code=75)

        assert "cannot be reached" in done.err
        assert len(done.err.splitlines()) == 1


def test_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 says that there are no credentials, and where to read on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    for words in (("ses", "status"), SETUP):
        done = Cli(tmp_path / "home")(*words, code=2)

        assert "there are no AWS credentials" in done.err
        assert "docs/ses.md" in done.err


def test_a_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration of AWS that cannot be used is said to be that."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    done = Cli(tmp_path / "home")("ses", "status", code=2)

    assert "ProfileNotFound" in done.err
