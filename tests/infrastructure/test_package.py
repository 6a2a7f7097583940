"""The bundle: what goes in, and that the same sources are the same bytes."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from infrastructure import package

ROOT: Final = Path(__file__).parents[2]
HERE: Final = f"python{sys.version_info[0]}.{sys.version_info[1]}"
NEEDED: Final = package.needed(ROOT / "pyproject.toml", ROOT / "requirements.lock", "3.13")


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    """Neither the order in which files were made, nor their times and modes, show in the zip."""
    written = []
    for number, names in enumerate((["b/two.py", "a.so"], ["a.so", "b/two.py"])):
        folder = tmp_path / str(number)
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"# {name}\n", encoding="utf-8")
            path.chmod(0o600 if number else 0o644)
            os.utime(path, (number * 10**9, number * 10**9))
        output = tmp_path / f"{number}.zip"
        package.write(folder, output)
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_the_zip_is_sorted_and_readable_for_everybody(tmp_path: Path) -> None:
    """Lambda runs as somebody else than who built: files can be read, libraries executed."""
    (tmp_path / "in").mkdir()
    for name in ("b.py", "a.so"):
        (tmp_path / "in" / name).touch(mode=0o600)
    package.write(tmp_path / "in", tmp_path / "out" / "it.zip")
    with zipfile.ZipFile(tmp_path / "out" / "it.zip") as archive:
        entries = [(entry.filename, entry.external_attr >> 16) for entry in archive.infolist()]
    assert [("a.so", 0o100755), ("b.py", 0o100644)] == entries
    assert ["it.zip"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_the_bundle_holds_what_the_functions_need_and_no_test_package() -> None:
    """The core, PostgreSQL and AWS are in it; command lines and test packages are not."""
    assert {"attrs", "boto3", "cryptography", "eventsourcing", "msgspec", "psycopg"} <= set(NEEDED)
    assert {"botocore", "psycopg-binary", "psycopg-pool", "structlog", "urllib3"} <= set(NEEDED)
    strangers = {"pytest", "hypothesis", "ministack", "cfn-lint", "rich", "click", "mypy", "uv"}
    assert set() == strangers & set(NEEDED)


def test_every_package_is_pinned_with_hashes() -> None:
    """Pip refuses a wheel that the lock does not know."""
    for name, block in NEEDED.items():
        assert "==" in block, name
        assert "--hash=sha256:" in block, name


def test_a_requirement_for_another_system_is_left_out() -> None:
    """A lock is for every system and every Python; the bundle is for one."""
    lock = (
        "# made by hand\n"
        "one==1 ; sys_platform == 'win32' \\\n    --hash=sha256:aa\n"
        "two==2 ; python_full_version < '3.12' \\\n    --hash=sha256:bb\n"
        "Three_3==3 \\\n    --hash=sha256:cc \\\n    --hash=sha256:dd\n"
    )
    environment = {"sys_platform": "linux", "python_full_version": "3.13.0"}
    found = dict(package.blocks(lock, environment))
    assert ["three-3"] == list(found)
    assert 2 == found["three-3"].count("--hash")


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        (True, "attrs/__init__.py"),
        (True, "msgspec/_core.cpython-313-aarch64-linux-gnu.so"),
        (True, "attrs-26.1.0.dist-info/METADATA"),
        (True, "attrs-26.1.0.dist-info/licenses/LICENSE"),
        (False, "attrs-26.1.0.dist-info/RECORD"),
        (False, "eventsourcing/tests/persistence.py"),
        (False, "attrs/py.typed"),
        (False, "psycopg_binary/_psycopg.pyx"),
        (True, "botocore/docs/docstring.py"),
        (True, "botocore/data/endpoints.json"),
        (True, "botocore/data/sesv2/2019-09-27/service-2.json.gz"),
        (False, "botocore/data/ec2/2016-11-15/service-2.json.gz"),
        (False, "boto3/data/ec2/2016-11-15/resources-1.json"),
        (False, "x-1.data/scripts/run"),
    ],
)
def test_what_is_kept_of_a_wheel(expected: bool, name: str) -> None:
    """Code, data of the services that are called, versions and licences; nothing else."""
    assert expected is package.keeps(name)


def test_wheels_are_unpacked_without_what_is_left_out(tmp_path: Path) -> None:
    """Only what is kept is written."""
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("x/__init__.py", "x/tests/test_x.py", "x/"):
            archive.writestr(name, b"")
    package.unpack([wheel], tmp_path / "out")
    assert ["__init__.py"] == [path.name for path in (tmp_path / "out").rglob("*.py")]


def test_the_bundle_has_the_handlers_and_no_command_line(tmp_path: Path) -> None:
    """Of this package everything goes in that a function can reach, SQL files too."""
    package.own(ROOT / "src" / "siutindei", tmp_path)
    assert (tmp_path / "siutindei" / "entrypoints" / "runtime.py").is_file()
    assert (tmp_path / "siutindei" / "adapters" / "roles.sql").is_file()
    assert not (tmp_path / "siutindei" / "entrypoints" / "cli").exists()
    assert [] == list(tmp_path.rglob("__pycache__"))


def test_the_bundle_is_compiled_only_by_its_own_python(tmp_path: Path) -> None:
    """Another version's bytecode would be dead weight; its own does not tell where it was built."""
    (tmp_path / "it.py").write_text("def f(): pass\n", encoding="utf-8")
    assert not package.compile_for(tmp_path, "python2.7")
    assert [] == list(tmp_path.rglob("*.pyc"))
    assert package.compile_for(tmp_path, HERE)
    (compiled,) = tmp_path.rglob("*.pyc")
    assert b"/var/task/it.py" in compiled.read_bytes()
    assert str(tmp_path).encode() not in compiled.read_bytes()


def test_the_report_names_the_size_and_the_biggest_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever builds sees what is big, and what Lambda would refuse is refused here."""
    (tmp_path / "in" / "big").mkdir(parents=True)
    (tmp_path / "in" / "big" / "it.so").write_bytes(bytes(5000))
    (tmp_path / "in" / "small.py").touch()
    output = tmp_path / "it.zip"
    package.write(tmp_path / "in", output)
    shown = package.report(tmp_path / "in", output, compiled=True)
    assert "5,000  big" in shown
    monkeypatch.setattr(package, "MOST", 4999)
    with pytest.raises(SystemExit, match="too big"):
        package.report(tmp_path / "in", output, compiled=False)
