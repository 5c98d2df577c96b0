"""Show how long each stage of the pipeline took on this machine, and how much memory it needed.

`make repro` runs this after `dvc repro`. The times are of the runs that made the present outputs, whenever that was.
"""

import argparse
from datetime import datetime
from pathlib import Path

from stages.core.errors import run
from stages.core.files import write_text
from stages.report.page import Section, join, page, paragraph, table
from tools.compare.snapshot import WORK_TREE, Snapshot
from tools.compare.times import StageTime, duration, known

HEADER = ("stage", "time", "most memory", "ran", "note")
PAGE = Path("comparison/times.html")
MEANING = (
    "The run of each stage that made its present outputs with the present code, on this machine. A stage whose outputs "
    "DVC took from its cache did not run again: its time is that of the earlier run, if that was here. Time "
    "is that of the whole process, memory the most that it had at once. Each is of a single run: whatever else the "
    "machine did counts."
)


def html(snapshot: Snapshot, found: dict[str, StageTime]) -> str:
    """The page."""
    rows = [
        (
            name,
            time.time,
            time.memory,
            datetime.fromtimestamp(time.started).strftime("%Y-%m-%d\N{NO-BREAK SPACE}%H:%M"),
            ", ".join(time.notes),
        )
        for name in snapshot.in_order(found)
        for time in [found[name]]
    ]
    unknown = ", ".join(name for name in snapshot.in_order(snapshot.lock) if name not in found)
    left_out = paragraph(f"Not known: {unknown}.") if unknown else ""
    body = join(paragraph(MEANING, "soft"), table(HEADER, rows), left_out)
    return page("Times of the pipeline", total(snapshot, found), [Section("stages", "Stages", body)])


def total(snapshot: Snapshot, found: dict[str, StageTime]) -> str:
    """All stages in a sentence."""
    if not found:
        return "No stage's time is known: none of the present outputs was made on this machine."
    longest = max(found, key=lambda name: found[name].seconds)
    largest = max(found, key=lambda name: found[name].peak_bytes)
    return (
        f"{len(found)} of {len(snapshot.lock)} stages took {duration(sum(time.seconds for time in found.values()))} on "
        f"this machine, added up; the longest {found[longest].time} ({longest}). The most memory was "
        f"{found[largest].memory} ({largest})."
    )


def main() -> None:
    """Write the page; print the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    args = parser.parse_args()
    snapshot = Snapshot(args.root, WORK_TREE)
    found = known(snapshot)
    write_text(args.root / PAGE, html(snapshot, found))
    print(f"{total(snapshot, found)}\n{args.root / PAGE}")


if __name__ == "__main__":
    run(main)
