"""Record which processor made the outputs in `dvc.lock`, in `results/processor.json`.

`make repro` runs this after `dvc repro`. The file changes only when the outputs' digests do, so a machine that makes
the committed bytes leaves it alone.
"""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import yaml

from stages.core.files import write_json

LOCK, RECORD = Path("dvc.lock"), Path("results/processor.json")


def describe() -> str:
    """This machine's processor, by its name, vendor, family and model where Linux tells them, and its system."""
    system = f"{platform.system()} {platform.machine()}"
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return f"{platform.processor() or 'unknown processor'}, {system}"
    lines = (line.partition(":") for line in information.read_text().split("\n\n")[0].splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    name = facts.get("model name", "unknown processor")
    details = [facts.get("vendor_id"), *(f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts)]
    return f"{name} ({', '.join(filter(None, details))}), {system}"


def outputs(lock: str) -> dict[str, str]:
    """MD5 of every output in the text of a `dvc.lock`, by stage and path."""
    stages: dict[str, Any] = (yaml.safe_load(lock) or {}).get("stages", {})
    return {f"{name}: {out['path']}": out["md5"] for name, stage in stages.items() for out in stage.get("outs", [])}


def digest(lock: str) -> str:
    """SHA-256 of all outputs' digests."""
    return hashlib.sha256(json.dumps(outputs(lock), sort_keys=True).encode()).hexdigest()


def writer(lock: str, record: str | None) -> str | None:
    """The processor that made a lock's outputs; None if the record is missing or of other outputs."""
    known = json.loads(record) if record else {}
    return known["processor"] if known.get("outputs") == digest(lock) else None


def main() -> None:
    """Write the record, unless it is of these outputs already."""
    lock = LOCK.read_text()
    if writer(lock, RECORD.read_text() if RECORD.exists() else None) is None:
        write_json(RECORD, {"outputs": digest(lock), "processor": describe()})


if __name__ == "__main__":
    main()
