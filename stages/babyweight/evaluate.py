"""Measure the exported birth-weight model on the test births, beside two baselines fitted to the training births."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from stages import runtime
from stages.babyweight.params import Evaluate
from stages.core import disclosure
from stages.core.arguments import evaluation_arguments
from stages.core.errors import run
from stages.core.files import read_json, significant, whole_folder, write_json, write_table
from stages.core.params import EvaluateParams
from stages.evaluation import statistics
from stages.evaluation.groups import ErrorGroups
from stages.evaluation.statistics import CELLS, NOTHING, ErrorSums
from stages.savedmodel.predictor import Predictor

BATCH = 16384
BLOCK = 8 * BATCH
"""Births in memory at once."""
DECILES = 10
EFFECT_BIRTHS = 1000  # births whose inputs are varied for the table of effects
RESIDUAL_BIN = 0.25  # pounds
NEAR = 7.0  # pounds, near the mean: squares of what is left lose no digits

GROUPS = {
    "sex": ("is_male", {"True": "boy", "False": "girl"}),
    "race": ("mother_race", {}),
    "marriage": ("mother_married", {"True": "married", "False": "not married"}),
    "smoking": ("cigarette_use", {"True": "smoker", "False": "no smoker", "None": "not asked"}),
    "drinking": ("alcohol_use", {"True": "drinker", "False": "no drinker", "None": "not asked"}),
}
"""The input that each group of births goes by, and what its words mean."""
AGES = {"below 20": 0, "20 to 29": 20, "30 to 39": 30, "40 and above": 40}
"""Bands of the mother's age, and where each begins."""
TERMS = ("term", "preterm")
CROSSED = "race and preterm"
FEWEST_CROSSED = 100  # births of a race and term that are told of
BANDS = {"mother_age": "mother's age", "gestation_weeks": "preterm"}
"""The group that joins values of an input."""
CELL = 20  # births of people whose errors are told together
CELL_COLUMNS = ("term", "cell", "births", "actual", "actual_squared", "absolute_error", "squared_error")

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


def blocks(data: Path, split: str) -> Iterator[tuple[Codes, Floats]]:
    """Codes uint8 [n, features] and pounds float64 [n] of a split, a block at a time, read and not mapped."""
    with (data / split / "features.npy").open("rb") as codes, (data / split / "weight_pounds.npy").open("rb") as pounds:
        rows, columns = _shape(codes)
        _shape(pounds)
        for first in range(0, rows, BLOCK):
            count = min(BLOCK, rows - first)
            block = np.fromfile(codes, np.uint8, count * columns).reshape(count, columns)
            yield block, np.fromfile(pounds, np.float32, count).astype(np.float64)


def _shape(file: IO[bytes]) -> tuple[int, ...]:
    """The shape that the header of an .npy file gives; the values come next."""
    np.lib.format.read_magic(file)
    shape: tuple[int, ...] = np.lib.format.read_array_header_1_0(file)[0]
    return shape


def is_personal(schema: dict[str, Any]) -> bool:
    """Whether births are of people, and not for everybody to see one by one."""
    return schema["source"] != "synthetic" and not schema.get("public", False)


def instances(codes: Codes, schema: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """The signature's inputs [n]: words where there is a vocabulary, else numbers."""
    words = schema["vocabularies"]
    return {
        name: np.array(words[name])[column] if name in words else column
        for name, column in zip(schema["features"], codes.T, strict=True)
    }


def design(codes: Codes, schema: dict[str, Any]) -> Floats:
    """The linear baseline's inputs [n, columns]: one, the numbers, the categories one-hot but for the first word."""
    columns: list[Floats] = [np.ones(len(codes))]
    for name, column in zip(schema["features"], codes.T, strict=True):
        words = schema["vocabularies"].get(name)
        columns += [column.astype(float)] if words is None else [column == c for c in range(1, len(words))]
    return np.stack(columns, axis=1, dtype=np.float64)


def linear(train: Iterable[tuple[Codes, Floats]], schema: dict[str, Any]) -> tuple[Floats, float]:
    """Fit the baselines to blocks of births, in one pass.

    Returns:
        The linear model's weights [columns] by least squares, and the mean weight in pounds.
    """
    width = design(np.zeros((0, len(schema["features"])), np.uint8), schema).shape[1]
    products, moments, pounds, births = np.zeros((width, width)), np.zeros(width), 0.0, 0
    for codes, weights in train:
        inputs = design(codes, schema)
        products += inputs.T @ inputs
        moments += inputs.T @ weights
        pounds, births = pounds + float(weights.sum()), births + len(weights)
    # By the normal equations; a category that never occurs gets no weight.
    solution = np.linalg.lstsq(products, moments)[0]
    return solution.astype(np.float64), pounds / births


def mean(values: float, births: float) -> float:
    """A mean, to six digits."""
    return significant(float(values / births))


def number_or_empty(value: float | None) -> float | str:
    """A number to six digits; an empty field of a table if there is none."""
    return "" if value is None else significant(float(value))


class Errors:
    """Errors of a prediction, which blocks of births are added to."""

    def __init__(self) -> None:
        self._sums = ErrorSums(len(TERMS), centre=NEAR)

    def add(self, predicted: Floats | float, pounds: Floats, preterm: npt.NDArray[np.bool_]) -> None:
        """Add births [n]."""
        self._sums.add(predicted, pounds, preterm.astype(np.int64))

    def metrics(self, with_terms: bool = True) -> dict[str, Any]:
        """RMSE, MAE (in pounds) and R², RMSE of preterm and term births, with intervals; null where none are.

        Args:
            with_terms: whether preterm and term births may be told of; null if not.
        """
        sums = self._sums
        found = {"rmse": sums.rmse(), "mae": sums.mae(), "r2": sums.r2()}
        found |= {f"rmse_{term}": sums.rmse(place) if with_terms else NOTHING for place, term in enumerate(TERMS)}
        return {key: value for name, estimate in found.items() for key, value in estimate.metrics(name).items()}


def group_values(schema: dict[str, Any]) -> dict[str, list[str]]:
    """The values of each group of births."""
    vocabularies = schema["vocabularies"]
    found = {group: [named.get(w, w) for w in vocabularies[name]] for group, (name, named) in GROUPS.items()}
    crossed = [f"{race}, {term}" for race in found["race"] for term in TERMS]
    numbers = {"plurality": [str(babies) for babies in range(256)], "preterm": list(TERMS), "mother's age": list(AGES)}
    return found | numbers | {CROSSED: crossed}


def group_places(
    codes: Codes, schema: dict[str, Any], preterm: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.int64]]:
    """Which of the values of each group each birth [n] has."""
    column = {name: codes[:, place].astype(np.int64) for place, name in enumerate(schema["features"])}
    return {
        **{group: column[name] for group, (name, _) in GROUPS.items()},
        "plurality": column["plurality"],
        "preterm": preterm.astype(np.int64),
        "mother's age": np.digitize(column["mother_age"], list(AGES.values())) - 1,
        CROSSED: len(TERMS) * column["mother_race"] + preterm,
    }


def band(group: str, values: Sequence[int] | Codes, preterm_weeks: int) -> npt.NDArray[np.int64]:
    """Which of a group's values each number [n] is in: of the terms, each week; of the bands of ages, each year."""
    if group == "preterm":
        return (np.asarray(values) < preterm_weeks).astype(np.int64)
    return np.digitize(values, list(AGES.values())).astype(np.int64) - 1


class Told:
    """What may be told of personal births: no table has a row of few, nor do tables have rows from which one follows.

    Attributes:
        values: which of each group's values may be told.
        terms: whether preterm and term births may.
    """

    def __init__(self, groups: ErrorGroups, values: Iterable[str]) -> None:
        self.values = {group: disclosure.told(groups.counts(group)) for group in values}
        self.terms = bool(self.values["preterm"].all())
        crossed = groups.counts(CROSSED).reshape(-1, len(TERMS))
        pairs = disclosure.told(crossed, left_out=~self.values["race"]) & self.terms
        self.values[CROSSED] = np.repeat(pairs, len(TERMS))

    def _rows(self, rows: list[Row], bands: npt.NDArray[np.int64] | None = None, group: str = "") -> list[Row]:
        births = np.array([row["births"] for row in rows], np.int64)
        if bands is None:
            parts = births
        else:  # a value that is told is a total of rows; those that are not told are one together
            told = self.values[group]
            columns = np.where(told, np.arange(len(told)), len(told))[bands]
            parts = np.zeros((len(rows), len(told) + 1), np.int64)
            parts[np.arange(len(rows)), columns] = births
        return [row for row, tell in zip(rows, disclosure.told(parts), strict=True) if tell]

    def tables(self, tables: dict[str, list[Row]], preterm_weeks: int) -> dict[str, list[Row]]:
        """What may be told of the tables."""

        def rows(name: str, column: str, group: str, of: str | None = None) -> list[Row]:
            found = [row for row in tables[name] if of is None or row["input"] == of]
            places = band(group, [row[column] for row in found], preterm_weeks) if group else None
            return self._rows(found, places, group)

        inputs = dict.fromkeys(row["input"] for row in tables["effects"])
        return {
            **tables,
            "residuals": rows("residuals", "error", ""),
            "by_week": rows("by_week", "week", "preterm"),
            "effects": [row for name in inputs for row in rows("effects", "value", BANDS.get(name, ""), name)],
        }


def calibration(
    predicted: npt.NDArray[np.floating], pounds: npt.NDArray[np.floating], fewest: int = 1
) -> list[dict[str, Any]]:
    """Mean prediction, and mean weight with its interval, by decile of prediction.

    By fewer parts, if deciles had fewer births than `fewest`.
    """
    parts = max(1, min(DECILES, len(pounds) // fewest))
    groups = enumerate(np.array_split(np.argsort(predicted, kind="stable"), parts), 1)
    return [
        {
            "decile": number,
            "predicted": significant(float(predicted[group].mean(dtype=np.float64))),
            "actual": significant(float(actual.value or 0.0)),
            "low": number_or_empty(actual.low),
            "high": number_or_empty(actual.high),
        }
        for number, group in groups
        if len(group)
        for actual in [statistics.mean(pounds[group].astype(np.float64))]
    ]


class Residuals:
    """Births by bin of the prediction's error."""

    def __init__(self) -> None:
        self._bins = Counter[int]()

    def add(self, errors: Floats) -> None:
        """Add births [n]."""
        bins, counts = np.unique(np.floor(errors / RESIDUAL_BIN).astype(int), return_counts=True)
        self._bins.update(dict(zip(bins.tolist(), counts.tolist(), strict=True)))

    def rows(self) -> list[dict[str, Any]]:
        """The table."""
        return [{"error": b * RESIDUAL_BIN, "births": births} for b, births in sorted(self._bins.items())]


class ByWeek:
    """Mean prediction, mean weight and RMSE by completed week of gestation, with the interval of the RMSE."""

    def __init__(self) -> None:
        self._errors = ErrorSums(256)
        self._sums = np.zeros([3, 256])

    def add(self, weeks: Codes, predicted: Floats, pounds: Floats) -> None:
        """Add births [n]."""
        self._errors.add(predicted, pounds, weeks)
        for sums, values in zip(self._sums, (None, predicted, pounds), strict=True):
            sums += np.bincount(weeks, values, minlength=256)

    def rows(self) -> list[dict[str, Any]]:
        """The table."""
        return [
            {
                "week": int(week),
                "predicted": mean(predicted, births),
                "actual": mean(actual, births),
                "rmse": number_or_empty(rmse.value),
                "births": int(births),
                "low": number_or_empty(rmse.low),
                "high": number_or_empty(rmse.high),
            }
            for week in np.flatnonzero(self._sums[0])
            for births, predicted, actual in [self._sums[:, week]]
            for rmse in [self._errors.rmse(int(week))]
        ]


def effects(predict: Callable[[Codes], Floats], codes: Codes, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Partial dependence: what a value of one input adds to the prediction, all other inputs as they are.

    A value's effect on a birth is the prediction with that value less the prediction with the input's commonest
    value. The table gives its mean over births, and the 10th and 90th percentile as the spread.

    Source: Goldstein et al., "Peeking Inside the Black Box" (2015), centred individual curves.

    Args:
        predict: predictions [n] for codes [n, features].
        codes: the test births, of which every n-th is varied.
        schema: the data's schema.
    """
    births = codes[:: -(-len(codes) // EFFECT_BIRTHS)]
    rows = []
    for index, name in enumerate(schema["features"]):
        values, counts = np.unique(codes[:, index], return_counts=True)
        varied = np.tile(births, (len(values), 1))
        varied[:, index] = np.repeat(values, len(births))
        curves = predict(varied).reshape(len(values), len(births))
        curves -= curves[counts.argmax()].copy()
        low, high = np.quantile(curves, [0.1, 0.9], axis=1)
        words = schema["vocabularies"].get(name)
        for value, count, *effect in zip(values.tolist(), counts.tolist(), curves.mean(axis=1), low, high, strict=True):
            numbers = dict(zip(("effect", "low", "high"), (round(float(e), 4) for e in effect), strict=True))
            rows.append({"input": name, "value": words[value] if words else value, "births": count, **numbers})
    return rows


def by_hash(codes: Codes, pounds: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The births [n] in the order of a hash of what they are."""
    hashes = np.asarray(pounds).view("<u4") * np.uint64(0x9E3779B97F4A7C15)
    hashes ^= np.ascontiguousarray(codes, np.uint8).view("<u8")[:, 0]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finalizer of SplitMix64
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    return np.argsort(hashes, kind="stable")


def chosen(codes: Codes, pounds: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """The births that are examples: all, or `count` by a hash of what they are, in the data's order.

    So two models, and two states of the data, have the same births as far as they are in both.
    """
    return np.arange(len(pounds)) if len(pounds) <= count else np.sort(by_hash(codes, pounds)[:count])


def cells(
    codes: Codes,
    pounds: npt.NDArray[np.float32],
    predicted: npt.NDArray[np.float32],
    terms: dict[str, npt.NDArray[np.bool_]],
) -> Iterator[dict[str, Any]]:
    """What a comparison of two models needs of test births that may not be told one by one: means of `CELL` or more.

    Args:
        codes: the births [n, features].
        pounds: their weights [n].
        predicted: the predictions [n].
        terms: which births [n] cells are made of, by name.
    """
    order = by_hash(codes, pounds)
    for term, inside in terms.items():
        births = order[inside[order]]
        parts = np.array_split(births, min(CELLS, max(1, len(births) // CELL))) if len(births) else []
        for number, cell in enumerate(parts, 1):
            actual = pounds[cell].astype(np.float64)
            error = predicted[cell] - actual
            means = (significant(float(v.mean())) for v in (actual, actual**2, np.abs(error), error**2))
            yield dict(zip(CELL_COLUMNS, (term, number, len(cell), *means), strict=True))


def examples(
    codes: Codes, schema: dict[str, Any], pounds: npt.NDArray[Any], predicted: npt.NDArray[Any], births: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Some test births by number: their inputs, weights and predictions."""
    inputs = instances(codes, schema)
    columns = (values.tolist() for values in inputs.values())
    for number, *values, actual, answer in zip(births, *columns, pounds, predicted, strict=True):
        numbers = {"actual": significant(float(actual)), "predicted": significant(float(answer))}
        yield {"birth": int(number), **dict(zip(inputs, values, strict=True)), **numbers}


def main() -> None:
    """Write the metrics, the tables of the plots and the predictions."""
    args = evaluation_arguments(__doc__)
    params = EvaluateParams[Evaluate].read(args.params)

    runtime.configure(params.runtime)
    schema = read_json(args.data / "schema.json")
    model = Predictor(args.model)

    def predict(births: Codes) -> Floats:
        (outputs,) = model.batched(BATCH, **instances(births, schema)).values()
        return outputs.astype(np.float64)

    weights, mean_weight = linear(blocks(args.data, "train"), schema)
    errors, of_mean, of_linear = Errors(), Errors(), Errors()
    residuals, weeks = Residuals(), ByWeek()
    values_of = group_values(schema)
    groups = ErrorGroups(values_of, "births", {CROSSED: FEWEST_CROSSED})
    answers: list[npt.NDArray[np.float32]] = []
    for births, actual in blocks(args.data, "test"):
        predicted = predict(births)
        week = births[:, schema["features"].index("gestation_weeks")]
        preterm = week < params.evaluate.preterm_weeks
        errors.add(predicted, actual, preterm)
        of_mean.add(mean_weight, actual, preterm)
        of_linear.add(design(births, schema) @ weights, actual, preterm)
        residuals.add(predicted - actual)
        weeks.add(week, predicted, actual)
        groups.add(group_places(births, schema, preterm), predicted, actual)
        answers.append(predicted.astype(np.float32))

    every_answer = np.concatenate(answers)
    arrays = (args.data / "test" / f"{name}.npy" for name in ("features", "weight_pounds"))
    codes, pounds = (np.load(path, mmap_mode="r") for path in arrays)
    told = Told(groups, values_of) if is_personal(schema) else None
    with_terms = told is None or told.terms
    metrics = {
        **errors.metrics(with_terms),
        "baselines": {"mean": of_mean.metrics(with_terms), "linear": of_linear.metrics(with_terms)},
        "test_births": len(pounds),
    }
    tables = {
        "calibration": calibration(every_answer, pounds, disclosure.FEWEST if told else 1),
        "residuals": residuals.rows(),
        "by_week": weeks.rows(),
        "effects": effects(predict, codes, schema),
    }
    shown = told.tables(tables, params.evaluate.preterm_weeks) if told else tables
    with whole_folder(args.plots) as folder:
        for name, rows in tables.items():
            write_table(folder / f"{name}.csv", shown[name], list(rows[0]))
        write_table(folder / "groups.csv", groups.rows(told.values if told else None), groups.header)
    if told:
        weeks_of = codes[:, schema["features"].index("gestation_weeks")]
        places = band("preterm", weeks_of, params.evaluate.preterm_weeks if told.terms else 0)
        names = TERMS if told.terms else ("all",)
        table = cells(codes, pounds, every_answer, {name: places == place for place, name in enumerate(names)})
        header = list(CELL_COLUMNS)
    else:
        some = chosen(codes, pounds, params.evaluate.examples)
        table = examples(codes[some], schema, pounds[some], every_answer[some], some.tolist())
        header = ["birth", *schema["features"], "actual", "predicted"]
    write_table(args.examples, table, header)
    write_json(args.metrics, metrics)


if __name__ == "__main__":
    run(main)
