"""The lock files and what is declared in pyproject.toml agree."""

import re
import tomllib
from itertools import chain

from tests.conftest import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PIN = re.compile(r"^([a-z0-9.-]+)==([^ \\]+)", re.MULTILINE)


def names(requirements: list[str]) -> set[str]:
    """Names of packages, as a lock writes them."""
    return {re.sub("[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", text)[0]).lower() for text in requirements}


def test_each_package_has_one_version_in_all_locks_of_one_environment() -> None:
    together = [lock for lock in LOCKS if lock.stem not in ("clients", "moto")]  # which have places of their own
    assert len(together) == len(LOCKS) - 2 == 6
    pins = set(chain.from_iterable(PIN.findall(lock.read_text()) for lock in together))
    assert len(pins) == len({name for name, _ in pins}), sorted(pins)


def test_every_line_has_a_hash_and_no_index() -> None:
    for lock in LOCKS:
        text = lock.read_text()
        blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks), lock
        assert "://" not in text, lock


def test_each_group_has_its_lock_and_the_stages_lock_holds_no_server() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = declared["dependency-groups"]
    locked = {lock.stem: {name for name, _ in PIN.findall(lock.read_text())} for lock in LOCKS}
    assert set(locked) == {"cpu", "cuda", *groups}
    assert names(declared["project"]["dependencies"]) <= locked["cpu"] & locked["cuda"]
    for group, requirements in groups.items():
        assert names(requirements) <= locked[group]
    assert not {"fastapi", "starlette", "uvicorn"} & locked["cpu"]
