"""The plots of `dvc.yaml`, those of two states in one chart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tools.compare.snapshot import Row, Snapshot


@dataclass(frozen=True)
class Curve:
    """A plot in two states.

    Args:
        title: as in `dvc.yaml`.
        x: title of the x axis.
        y: title of the y axis.
        lines: points of each line by its name, such as `A: loss`.
        same: whether both states have the same points.
        note: why it cannot be compared, if so.
        scatter: whether points stand alone.
        calibration: rows `x`, `y`, `side`, `count` of shares that would be equal if all were well.
    """

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[Any, Any]]]
    same: bool = False
    note: str = ""
    scatter: bool = False
    calibration: tuple[Row, ...] = ()


def _definitions(snapshot: Snapshot) -> list[tuple[str, dict[str, Any]]]:
    plots = (entry for entry in snapshot.pipeline.get("plots", []) if isinstance(entry, dict))
    return [(title, plot) for entry in plots for title, plot in entry.items() if isinstance(plot.get("y"), dict)]


def confusions(rows: list[Row]) -> dict[tuple[Any, Any], int]:
    """How often each wrong class was predicted, by (actual, predicted)."""
    counts: dict[tuple[Any, Any], int] = {}
    for row in rows:
        pair = (row["actual"], row["predicted"])
        if pair[0] != pair[1]:
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def _curve(title: str, plot: dict[str, Any], a: Snapshot, b: Snapshot) -> Curve:
    x, (path, names) = plot["x"], next(iter(plot["y"].items()))
    columns = [names] if isinstance(names, str) else names
    labels = plot.get("x_label", x), plot.get("y_label", ", ".join(columns))
    tables = a.table(path), b.table(path)
    if tables[0] == tables[1] and tables[0] is not None:
        return Curve(title, *labels, {}, same=True)
    for snapshot, rows in zip((a, b), tables, strict=True):
        if not rows:
            return Curve(title, *labels, {}, note=f"{snapshot.name} has no {path}")
        if missing := [name for name in (x, *columns) if name not in rows[0]]:
            return Curve(title, *labels, {}, note=f"{path} of {snapshot.name} has no column {', '.join(missing)}")
    lines: dict[str, list[tuple[Any, Any]]] = {}
    for name in columns:
        before, after = ([(row[x], row[name]) for row in rows or []] for rows in tables)
        sides = {"both": after} if before == after else {"A": before, "B": after}
        lines |= {f"{side}: {name}" if len(columns) > 1 else side: points for side, points in sides.items()}
    calibrated = _calibration(x, columns, tables) if "calibration" in title.lower() else ()
    return Curve(title, *labels, lines, scatter=plot.get("template") == "scatter", calibration=calibrated)


def _calibration(x: str, columns: list[str], tables: Iterable[list[Row] | None]) -> tuple[Row, ...]:
    """The bins of both states, if x and y are shares and a column counts what is in a bin; else none."""
    found = []
    for side, rows in zip(("A", "B"), tables, strict=True):
        for row in rows or []:
            count = next((row[name] for name in ("images", "instances", "births", "rows") if name in row), None)
            values = [row[x], row[columns[0]]]
            if count is None or not all(isinstance(v, float) and 0 <= v <= 1 for v in values):
                return ()
            found.append({"x": values[0], "y": values[1], "side": side, "count": int(count)})
    return tuple(found)


def curves(a: Snapshot, b: Snapshot) -> list[Curve]:
    """Every plot that the later state defines, but for tables of classes."""
    return [
        _curve(title, plot, a, b)
        for title, plot in _definitions(b)
        if not str(plot.get("template", "")).startswith("confusion")
    ]


def renamed(a: Snapshot, b: Snapshot) -> list[str]:
    """Titles of plots that only one state defines."""
    old, new = ({title for title, _ in _definitions(snapshot)} for snapshot in (a, b))
    return sorted(old ^ new)
