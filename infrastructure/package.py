"""Makes the bundle that Lambda runs: this package and what it needs, as one zip, byte for byte.

    python infrastructure/package.py --runtime python3.13 --arch arm64

The wheels are those of `requirements.lock` for Lambda's system, whatever machine builds; each is
checked against its hash. What the functions never load stays out. Entries are sorted, and times
and modes are always the same, so that two builds of the same sources are the same file.
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT: Final = Path(__file__).parents[1]
OUTPUT: Final = Path("dist", "siutindei-lambda.zip")
RUNTIMES: Final = ("python3.13", "python3.14")
#: Lambda's system is Amazon Linux 2023, with glibc 2.34.
PLATFORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "arm64": ("manylinux_2_34_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"),
    "x86_64": ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64"),
}
#: What a Lambda function is: no command line's tables, no mail server.
EXTRAS: Final = ("aws", "postgres")
#: Of the packages that the extras and the core need, what no handler loads.
UNUSED: Final = frozenset({"click", "platformdirs", "rich", "markdown-it-py", "mdurl", "pygments"})
#: Folders and files of wheels that nothing at run time reads (botocore.docs is code).
LEFT_OUT: Final = ("tests", "test", "__pycache__")
LEFT_OUT_SUFFIXES: Final = (".pyi", ".pyx", ".pxd", ".c", ".h", ".md", ".rst", ".pyc", ".typed")
#: Of a wheel's metadata: what says which version it is, what it registers, and its licence.
METADATA: Final = ("METADATA", "entry_points.txt")
LICENCES: Final = ("license", "licence", "copying", "notice", "authors")
#: boto3 knows every service; the functions call these.
SERVICES: Final = frozenset({
    "cognito-idp", "kms", "s3", "secretsmanager", "sesv2", "sns", "sqs", "sso", "sso-oidc", "sts",
})  # fmt: skip
#: The beginning of the zip's time, which is also that of every entry.
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
#: What Lambda takes, unzipped.
MOST: Final = 250 * 1024 * 1024


def needed(pyproject: Path, lock: Path, python: str) -> dict[str, str]:
    """Say which locked packages go into the bundle.

    Args:
        pyproject: names what the package needs, and its extras.
        lock: the versions and hashes, one requirement a block.
        python: the version of Python that it is for, such as `3.13`.

    Returns:
        The block of the lock for each package, by name.
    """
    with pyproject.open("rb") as file:
        project = tomllib.load(file)["project"]
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    locked = dict(blocks(lock.read_text(encoding="utf-8"), environment))
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    found: dict[str, str] = {}
    for requirement in closure(wanted, environment):
        if requirement not in UNUSED:
            found[requirement] = locked[requirement]
    return dict(sorted(found.items()))


def blocks(lock: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give the requirements of a lock that are for an environment, each with its hashes."""
    block: list[str] = []
    for line in [*lock.splitlines(), "end"]:
        if line.startswith("#"):
            continue
        if not line.startswith(" ") and block:
            requirement = Requirement(block[0].rstrip("\\").strip())
            if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
                yield canonicalize_name(requirement.name), "\n".join(block) + "\n"
            block = []
        block.append(line)


def closure(wanted: Iterable[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Give the names of what is wanted and of all that it needs, as what is installed says."""
    from importlib.metadata import requires

    seen: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in wanted]
    named: set[str] = set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            given = {**environment, "extra": extra}
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if name not in named:
                named.add(name)
                yield name
            if name in UNUSED:
                continue
            for text in requires_or_none(requires, name):
                one = Requirement(text)
                if one.marker is None or one.marker.evaluate(given):
                    queue.append(one)


def requires_or_none(requires: Any, name: str) -> list[str]:
    """Give what an installed package needs; nothing for what this machine has no wheel of."""
    from importlib.metadata import PackageNotFoundError

    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def fetch(requirements: Mapping[str, str], folder: Path, *, runtime: str, arch: str) -> list[Path]:
    """Get the wheels for a target, by pip, which checks every hash."""
    lock = folder / "requirements.txt"
    lock.write_text("".join(requirements.values()), encoding="utf-8")
    version = runtime.removeprefix("python")
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *("--implementation", "cp", "--python-version", version),
        *("--dest", str(folder), "--requirement", str(lock)),
    ]
    for platform in PLATFORMS[arch]:
        command += ["--platform", platform]
    subprocess.run(command, check=True)
    return sorted(folder.glob("*.whl"))


def keeps(name: str) -> bool:
    """Whether a file of a wheel goes into the bundle."""
    parts = name.split("/")
    if parts[0].endswith(".dist-info"):
        stem = parts[-1].lower()
        return parts[-1] in METADATA or stem.startswith(LICENCES)
    if parts[0].endswith(".data"):
        return False
    if parts[:2] == ["botocore", "data"] and len(parts) > 2 and "." not in parts[2]:
        return parts[2] in SERVICES
    if parts[:2] == ["boto3", "data"] or parts[:2] == ["boto3", "examples"]:
        return False
    return not (set(parts[:-1]) & set(LEFT_OUT) or name.endswith(LEFT_OUT_SUFFIXES))


def unpack(wheels: Iterable[Path], folder: Path) -> None:
    """Put what the bundle keeps of the wheels into a folder."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith("/") and keeps(name):
                    archive.extract(name, folder)


def own(source: Path, folder: Path) -> None:
    """Put this package into a folder, without its command line."""
    shutil.copytree(
        source,
        folder / source.name,
        ignore=shutil.ignore_patterns("__pycache__", "cli", "*.pyc", "py.typed"),
    )


def compile_for(folder: Path, runtime: str) -> bool:
    """Compile everything when this interpreter is the target's; say whether it is."""
    if runtime != f"python{sys.version_info[0]}.{sys.version_info[1]}":
        return False
    compileall.compile_dir(
        folder,
        quiet=1,
        stripdir=str(folder),
        prependdir="/var/task",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return True


def write(folder: Path, output: Path) -> None:
    """Write a folder as a zip: sorted, with fixed times and modes, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = output.with_suffix(".draft")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                # As on Unix, whatever builds; readable by the user that Lambda runs as.
                entry.create_system = 3
                entry.external_attr = (0o100755 if path.suffix == ".so" else 0o100644) << 16
                archive.writestr(entry, path.read_bytes())
    draft.replace(output)


def report(folder: Path, output: Path, *, compiled: bool) -> str:
    """Say how big the bundle is, and which parts are the biggest."""
    sizes: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(folder).parts[0]] += path.stat().st_size
    total = sizes.total()
    lines = [
        f"{output}: {output.stat().st_size:,} bytes, unzipped {total:,} of {MOST:,}",
        f"sha256 {sha256(output.read_bytes()).hexdigest()}",
        "compiled for its runtime" if compiled else "not compiled: another Python builds it",
        *(f"  {size:>12,}  {name}" for name, size in sizes.most_common(8)),
    ]
    if total > MOST:
        raise SystemExit("\n".join([*lines, "Lambda does not take this: it is too big"]))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Make the bundle."""
    parser = argparse.ArgumentParser(description="Make the bundle that Lambda runs.")
    parser.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0])
    parser.add_argument("--arch", choices=sorted(PLATFORMS), default="arm64")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    requirements = needed(
        ROOT / "pyproject.toml", ROOT / "requirements.lock", given.runtime.removeprefix("python")
    )
    with tempfile.TemporaryDirectory(prefix="siutindei-package-") as name:
        wheels, bundle = Path(name, "wheels"), Path(name, "bundle")
        wheels.mkdir()
        bundle.mkdir()
        unpack(fetch(requirements, wheels, runtime=given.runtime, arch=given.arch), bundle)
        own(ROOT / "src" / "siutindei", bundle)
        compiled = compile_for(bundle, given.runtime)
        write(bundle, given.output)
        print(report(bundle, given.output, compiled=compiled))


if __name__ == "__main__":
    main()
