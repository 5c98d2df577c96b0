"""What the report says about births."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import zip_longest
from typing import Any

import altair as alt
import yaml
from markupsafe import Markup

from stages.core.files import read_json
from stages.report import charts
from stages.report.page import NO_CURVE, facts, figure, grid, heading, join, paragraph, signed, table
from stages.report.run import Row, Run, Story

SPLITS = ("train", "validation", "test")
FACTS = "stages/babyweight/source/facts.yaml"
WEIGHT_BIN, RESIDUAL_BIN = 0.5, 0.25  # pounds; residuals in the bins of the evaluation
YES_NO = {"is_male": "boy", "mother_married": "married", "cigarette_use": "smoker", "alcohol_use": "drinker"}
ANSWERS = {"True": "yes", "False": "no", "None": "not asked", "Unknown": "unknown"}
TOO_FEW = "Nothing to show: fewer than ten births have any one value."
RACES = {"White": "of the mothers are White", "Black": "Black"}
PERSONAL = "These births are of people: what fewer than ten have in common is left out (docs/privacy.md)."


def published_facts(run: Run) -> Any:
    """What is published of births."""
    return yaml.safe_load((run.root / FACTS).read_text(encoding="utf-8"))


Counts = Mapping[Any, int]
"""How many births have each value."""


def numbers(counts: Mapping[str, int]) -> dict[int, int]:
    """Counts by number, in order."""
    return {number: counts[str(number)] for number in sorted(map(int, counts))}


def percent(counts: Counts) -> dict[Any, float]:
    """Percentage of births with each value that occurs."""
    total = sum(counts.values())
    return {value: round(100 * births / total, 4) for value, births in counts.items()}


def fraction(counts: Counts, value: Any, unless: Collection[str] = ("Unknown", "None")) -> float | None:
    """Fraction of births with a value, of those where it is known; None if it is not told how many have it."""
    known = sum(births for other, births in counts.items() if other not in unless)
    return counts[value] / known if value in counts else None


def published_weeks(shares: dict[str, Any]) -> dict[int, float]:
    """Published percentage of births by completed week of gestation, of one baby or more."""
    one, two = shares["plurality"][1], shares["plurality"][2]
    weeks: dict[int, float] = defaultdict(float)
    for babies, births in {1: one, 2: two, 3: 1 - (one + two)}.items():
        for week, share in shares["weeks"][babies].items():
            weeks[week] += births * share
    return weeks


def distribution(values: Counts, published: dict[int, float], title: str) -> Markup:
    """A column of numbers: percentage of births by value, with the published ones as a line."""
    here = percent(values)
    if not here:
        return figure(Markup(), title.capitalize(), TOO_FEW)
    rows = [{"value": value - 0.5, "percent": share} for value, share in here.items()]
    points = [{"value": value, "published": round(share, 4)} for value, share in sorted(published.items())]
    dots = alt.OverlayMarkDef(color=charts.COLOURS[1], size=14)
    line = charts.chart(points).mark_line(color=charts.COLOURS[1], point=dots)
    line = line.encode(x="value:Q", y=alt.Y("published:Q", title="births (%)"))
    chart = charts.bars(rows, "value", "percent", title, "births (%)", 1, opacity=0.55) + line
    commonest = max(here, key=lambda value: here[value])
    there = published.get(commonest, 0)
    words = f"Commonest: {commonest}, {here[commonest]:.1f}% of births; published (line): {there:.1f}%."
    return figure(charts.svg(chart, f"Distribution of {title}. {words}"), title.capitalize(), words)


def races(values: Counts, known: dict[str, int]) -> Markup:
    """Percentage of births by race, beside the published one."""
    here = percent(values)
    both = {"here": here, "published": {race: 100 * count / sum(known.values()) for race, count in known.items()}}
    rows = [
        {"race": race, "births (%)": round(share, 4), "source": source}
        for source, shares in both.items()
        for race, share in shares.items()
    ]
    points = charts.chart(rows, width=charts.WIDTH - 60, height=charts.HEIGHT + 20)
    chart = points.mark_point(filled=True, size=55, opacity=0.9).encode(
        x=alt.X("births (%):Q", scale=alt.Scale(type="log"), axis=alt.Axis(grid=True, tickCount=4, format="~g")),
        y=alt.Y("race:N", title=None, sort=sorted(known, key=lambda race: -known[race])),
        color=alt.Color("source:N", scale=alt.Scale(domain=list(both))),
        shape=alt.Shape("source:N", scale=alt.Scale(domain=list(both), range=["circle", "diamond"])),
    )
    told = [f"{here[race]:.1f}% {words}" for race, words in RACES.items() if race in here]
    words = f"{', '.join(told)}." if told else TOO_FEW
    return figure(charts.svg(chart, f"Births by race of mother. {words}"), "Race of mother", words)


def weights(bins: Mapping[str, int], mean: float, deviation: float) -> Markup:
    """Histogram of the weights, of which each bin begins at so many pounds."""
    counts = {low: bins[f"{low:g}"] for low in sorted(map(float, bins))}
    rows = [{"pounds": low, "births (%)": share} for low, share in percent(counts).items()]
    words = f"Mean {mean:.2f} lb, standard deviation {deviation:.2f} lb."
    if not rows:
        return figure(Markup(), "Weight, to be predicted", f"{words} {TOO_FEW}")
    chart = charts.bars(rows, "pounds", "births (%)", "weight (lb)", "births (%)", WEIGHT_BIN)
    return figure(charts.svg(chart, f"Distribution of weight. {words}"), "Weight, to be predicted", words)


def compared_facts(prepared: dict[str, Any], published: dict[str, Any]) -> Markup:
    """Shares and means of the births beside the published ones."""
    known, every = published["shares"], published["all_births"]
    of_weights, values = prepared["distributions"]["weights"], prepared["distributions"]["values"]
    births, weeks, below = prepared["rows"]["kept"], numbers(values["gestation_weeks"]), of_weights["below_2500_g"]
    early = sum(count for week, count in weeks.items() if week < 37)
    all_told = sum(weeks.values()) == births
    share, lb = "{:.2%}", "{:.3f}\N{NO-BREAK SPACE}lb"
    figures = [
        ("boys", share, fraction(values["is_male"], "True"), known["male"]),
        ("mothers not married", share, fraction(values["mother_married"], "False"), known["unmarried"]),
        ("smokers, of those asked", share, fraction(values["cigarette_use"], "True"), known["smoker"]),
        ("drinkers, of those asked", share, fraction(values["alcohol_use"], "True"), known["alcohol"]),
        ("not asked", share, fraction(values["cigarette_use"], "None", unless=()), known["use_not_asked"]),
        ("twins", share, fraction(values["plurality"], "2"), known["plurality"][2]),
        ("before 37 weeks", share, early / births if all_told else None, every["below_37_weeks"]),
        ("below 2,500 g", share, None if below is None else below / births, every["below_2500_g"]),
        ("mean weight", lb, prepared["numbers"]["weight_pounds"]["mean"], every["mean"]),
        ("mean of boys", lb, of_weights["mean_of_boys"], every["mean_of_boys"]),
        ("mean of girls", lb, of_weights["mean_of_girls"], every["mean_of_girls"]),
    ]
    rows = [(name, form.format(here), form.format(there)) for name, form, here, there in figures if here is not None]
    return table(["births", "here", "published"], rows)


def data_facts(run: Run) -> Markup:
    """What became of the rows, and how their columns are distributed."""
    published, prepared = published_facts(run), run.json("prepare.json")
    values, of_weights = prepared["distributions"]["values"], prepared["distributions"]["weights"]
    shares = published["shares"]
    counts = {f"rows {fate}": prepared["rows"][fate] for fate in ("read", "kept", "dropped", "bad")}
    splits = {f"to {split}": prepared["kept"][split] for split in SPLITS}
    reasons = [
        (f"{fate}: {reason.replace('_', ' ')}", count)
        for fate in ("dropped", "bad")
        for reason, count in sorted(prepared[fate].items())
        if count
    ]
    unknown = [
        (column.replace("_", " "), count, ", ".join(prepared["commonest_unknown_words"].get(column, ())))
        for column, count in prepared["unknown_words"].items()
        if count
    ]
    absent = [(column.replace("_", " "), count) for column, count in prepared["absent_columns"].items() if count]
    return join(
        heading("Data"),
        facts({"source": prepared["source"], **counts, **splits}),
        *([paragraph(PERSONAL, "soft")] if prepared.get("personal") else []),
        table(["why", "rows"], reasons, "Rows left out"),
        table(["the first rows that cannot be read"], [(row,) for row in prepared.get("first_bad", ())]),
        table(["column", "rows", "commonest"], unknown, "Words taken as unknown"),
        table(["column", "rows"], absent, "Rows of files without a column"),
        grid(
            weights(of_weights["bins"], prepared["numbers"]["weight_pounds"]["mean"], of_weights["deviation"]),
            distribution(numbers(values["gestation_weeks"]), published_weeks(shares), "completed weeks of gestation"),
            distribution(numbers(values["mother_age"]), shares["age"], "age of mother"),
            races(values["mother_race"], shares["race"]),
            figure(compared_facts(prepared, published), "Shares and means", f"Published figures: {FACTS}."),
        ),
    )


def learning_curve(run: Run) -> Markup:
    """Error on validation births by step."""
    if not (rows := run.table("curve.csv", empty=True)):
        return figure(Markup(), "Learning curve", NO_CURVE)
    points = [(row["step"], row["validation_rmse"]) for row in rows]
    chart = charts.lines({"validation": points}, "optimiser step", "validation RMSE (lb)")
    ends = (f"{row['validation_rmse']:.3f} lb at step {row['step']:,}" for row in (rows[0], rows[-1]))
    words = f"From {' to '.join(ends)}."
    return figure(charts.svg(chart, f"RMSE on validation births by step. {words}"), "Learning curve", words)


def with_intervals(chart: Any, rows: list[Row], x: str, most: float = math.inf) -> Any:
    """A chart of rows with a line from their `low` to their `high`, behind it; those above `most` end there."""
    ends = [{x: r[x], "low": r["low"], "high": min(r["high"], most)} for r in rows if r.get("low") is not None]
    lines = charts.chart(ends).mark_rule(color=charts.SOFT).encode(x=f"{x}:Q", y="low:Q", y2="high:Q")
    return lines + chart if ends else chart


def calibration(run: Run) -> Markup:
    """Mean weight by decile of prediction."""
    rows = run.table("evaluation/calibration.csv")
    chart = charts.against_diagonal(rows, "predicted", "actual", "mean prediction (lb)", "mean weight (lb)")
    chart = with_intervals(chart, rows, "predicted")
    farthest = max(rows, key=lambda row: abs(row["predicted"] - row["actual"]))
    part = "a tenth" if len(rows) == 10 else f"one of {len(rows)} equal parts"
    words = (
        f"Each point is {part} of the test births, by prediction. Farthest from the diagonal: "
        f"{farthest['predicted']:.2f} lb predicted, {farthest['actual']:.2f} lb weighed. "
        "Lines: 95% intervals."
    )
    return figure(charts.svg(chart, f"Calibration. {words}"), "Calibration", words)


def by_week(run: Run, height: int = charts.HEIGHT) -> Markup:
    """Mean prediction and mean weight by week."""
    rows = run.table("evaluation/by_week.csv", empty=True)
    if not rows:
        return paragraph(TOO_FEW)
    values = {name: [(row["week"], row[name]) for row in rows] for name in ("actual", "predicted")}
    chart = charts.lines(values, "completed week of gestation", "mean weight (lb)", dash=["predicted"], height=height)
    return charts.svg(chart, f"Mean prediction and mean weight, by week from {rows[0]['week']} to {rows[-1]['week']}.")


def error_by_week(run: Run) -> Markup:
    """RMSE by week, with as many births as there are."""
    rows = run.table("evaluation/by_week.csv", empty=True)
    if not rows:
        return figure(Markup(), "Error by week", TOO_FEW)
    points = charts.chart(rows).mark_circle(opacity=0.85)
    chart = points.encode(
        x=alt.X(
            "week:Q", title="completed week of gestation", scale=alt.Scale(zero=False), axis=alt.Axis(tickMinStep=1)
        ),
        y=alt.Y("rmse:Q", title="RMSE (lb)", scale=alt.Scale(domainMax=1.3 * max(row["rmse"] for row in rows))),
        size=alt.Size("births:Q", scale=alt.Scale(range=[8, 500]), legend=None),
    )
    most = max(rows, key=lambda row: row["births"])
    chart = with_intervals(chart, rows, "week", most=1.3 * max(row["rmse"] for row in rows))
    words = f"Area: test births. Lines: 95% intervals. In week {most['week']}, the commonest, {most['rmse']:.3f} lb."
    return figure(charts.svg(chart, f"RMSE by week of gestation. {words}"), "Error by week", words)


def residuals(run: Run) -> Markup:
    """Histogram of the errors."""
    rows = run.table("evaluation/residuals.csv", empty=True)
    if not rows:
        return figure(Markup(), "Errors", TOO_FEW)
    chart = charts.bars(rows, "error", "births", "prediction less weight (lb)", "test births", RESIDUAL_BIN)
    near = sum(row["births"] for row in rows if -1 <= row["error"] < 1)
    words = f"{near / run.metric('test_births'):.0%} of the predictions are within a pound."
    return figure(charts.svg(chart, f"Histogram of errors. {words}"), "Errors", words)


def effect_of_number(rows: list[Row], title: str, label: str) -> Markup:
    """What a number adds to the prediction: the mean over births, and the band that holds eight of ten."""
    if not rows:
        return figure(Markup(), title, TOO_FEW)
    base = charts.chart(rows).encode(x=alt.X("value:Q", title=label, scale=alt.Scale(zero=False, nice=False)))
    band = base.mark_area(opacity=0.25).encode(y=alt.Y("low:Q", title="effect (lb)"), y2="high:Q")
    chart = band + base.mark_line(point=alt.OverlayMarkDef(opacity=0)).encode(y="effect:Q")
    ends = (f"{signed(row['effect'])} lb at {row['value']}" for row in (rows[0], rows[-1]))
    words = f"From {' to '.join(ends)}."
    return figure(charts.svg(chart, f"Effect of {label}. {words}"), title, words)


def category(row: Row) -> str:
    """The value of an input in words."""
    name, value = row["input"], row["value"]
    return f"{YES_NO[name]}: {ANSWERS[value]}" if name in YES_NO else str(value)


def published_effect(known: dict[str, Any], row: Row) -> float | None:
    """The published effect of a category against the commonest one, where there is one."""
    named: dict[tuple[str, str], float] = {
        ("is_male", "False"): -known["boy"][39],
        ("mother_married", "False"): -known["married"],
        ("cigarette_use", "True"): known["smoker"],
        ("alcohol_use", "True"): known["alcohol"],
        ("mother_race", "Black"): known["black"],
    }
    if row["input"] == "mother_race" and row["value"] not in {"White", "Black", "Unknown"}:
        return float(known["other_race"])
    return named.get((row["input"], row["value"]))


def effect_of_words(rows: Iterable[Row], title: str, published: dict[str, Any]) -> Markup:
    """What categories add to the prediction: mean and spread over births, and the published effect."""
    named = [{**row, "category": category(row), "published": published_effect(published, row)} for row in rows]
    if not named:
        return figure(Markup(), title, TOO_FEW)
    y = alt.Y("category:N", title=None, sort=None)
    base = charts.chart(named, width=charts.WIDTH - 90, height=alt.Step(18)).encode(y=y)
    spread = base.mark_rule(color=charts.COLOURS[0], opacity=0.4, strokeWidth=7).encode(
        x=alt.X("low:Q", title="effect (lb)", axis=alt.Axis(grid=True)), x2="high:Q"
    )
    mean = base.mark_point(filled=True, size=50, opacity=1).encode(x="effect:Q")
    tick = base.mark_point(shape="diamond", filled=True, size=45, color=charts.COLOURS[1], opacity=0.9)
    chart = spread + mean + tick.encode(x="published:Q")
    strongest = max(named, key=lambda row: abs(row["effect"]))
    words = f"Strongest: {strongest['category']}, {signed(strongest['effect'])} lb."
    return figure(charts.svg(chart, f"Effects on the prediction: {title}. {words}"), title, words)


def effects(run: Run) -> Markup:
    """What each input adds to the prediction."""
    published = published_facts(run)["effects"]
    rows = run.table("evaluation/effects.csv", empty=True)

    def of(*names: str) -> list[Row]:
        return [row for name in names for row in rows if row["input"] == name]

    note = (
        "What a value adds to the prediction in place of the commonest value, all other inputs as they are: the mean "
        "over 1,000 test births, or all if there are fewer, and the band that holds the middle eight of ten. Diamonds "
        "are published effects."
    )
    return join(
        heading("Effect of each input"),
        paragraph(note, "soft"),
        grid(
            effect_of_number(of("gestation_weeks"), "Gestation", "completed weeks"),
            effect_of_number(of("mother_age"), "Age of mother", "completed years"),
            effect_of_words(of(*YES_NO), "Sex, marriage, smoking and alcohol", published),
            effect_of_words(of("mother_race"), "Race of mother", published),
            effect_of_words(of("plurality"), "Babies of the pregnancy", published),
        ),
    )


def answers(run: Run) -> Markup:
    """The answers to the request, beside the expected ones: those of the original model, unless the user's own."""
    requests = run.root / "data" / "requests"
    instances = read_json(requests / "babyweight.json")["instances"]
    rules = read_json(requests / "expected" / "babyweight.json").values()
    expected = [
        f"{v:g}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{rule.get('within', 0):g}"
        for rule in rules
        for v in rule.get("values", [])
    ]
    predictions = [value for row in run.json("predictions.json")["predictions"] for value in row.values()]
    inputs = list(instances[0])
    # The answer stands first: a phone shows the first columns.
    header = ["birth", "prediction (lb)", "expected (lb)", *(name.replace("_", " ") for name in inputs)]
    answered = zip_longest(instances, predictions, expected)
    rows = [
        (number, _three(answer), wanted, *(instance[name] for name in inputs))
        for number, (instance, answer, wanted) in enumerate(answered, 1)
    ]
    return join(heading("The original request"), table(header, rows))


def _three(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _with_interval(run: Run, key: str) -> str | None:
    """A figure in pounds and its interval."""
    value, interval = _three(run.metric(key)), run.interval(key)
    return f"{value} ({interval[0]:.3f} to {interval[1]:.3f})" if value and interval else value


def story(run: Run) -> Story:
    """Births: the weight of a baby."""
    rmse, linear, mean = (run.metric(f"{of}rmse") for of in ("", "baselines.linear.", "baselines.mean."))
    beside = (
        f"{1 - rmse / linear:.1%} below the linear baseline: {linear:.3f} lb",
        f"predicting the mean: {mean:.3f} lb",
    )
    groups = {"all": "", "preterm": "_preterm", "term": "_term"}
    rows = [
        (name, *(_with_interval(run, f"{of}rmse{ending}") for of in ("", "baselines.linear.", "baselines.mean.")))
        for name, ending in groups.items()
    ]
    body = join(
        data_facts(run),
        heading("Model"),
        grid(
            learning_curve(run),
            calibration(run),
            figure(by_week(run), "Prediction and weight by week"),
            error_by_week(run),
            residuals(run),
            figure(
                table(["test births", "model", "linear", "mean"], rows),
                "RMSE beside the baselines",
                f"In pounds, on {run.metric('test_births'):,} births, with 95% intervals.",
            ),
        ),
        effects(run),
        answers(run),
    )
    return Story(beside, by_week(run, 130), body)
