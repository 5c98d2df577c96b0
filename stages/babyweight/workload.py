"""What this workload says about itself."""

from stages.workloads import Card, Groups, Instances, Metric, Workload

WORKLOAD = Workload(
    name="babyweight",
    title="Babyweight",
    lead="A baby's weight in pounds, from what is known before its birth.",
    metrics=(
        Metric("rmse", "RMSE", "{:.3f} lb"),
        Metric("baselines.linear.rmse", "RMSE of the linear baseline", "{:.3f} lb"),
        Metric("baselines.mean.rmse", "RMSE of the mean", "{:.3f} lb"),
        Metric("mae", "mean absolute error", "{:.3f} lb"),
        Metric("r2", "R²", "{:.3f}"),
    ),
    details=(
        Metric("rmse_preterm", "RMSE of preterm births", "{:.3f} lb"),
        Metric("rmse_term", "RMSE of term births", "{:.3f} lb"),
    ),
    unit="lb",
    sample_size="test_births",
    comparison="stages.babyweight.comparison:compare",
    instances=Instances(
        table="examples.csv",
        same=(
            "is_male",
            "mother_age",
            "mother_race",
            "plurality",
            "gestation_weeks",
            "mother_married",
            "cigarette_use",
            "alcohol_use",
            "actual",
        ),
        same_cells=("term", "cell", "births", "actual", "actual_squared"),
        measures="stages.babyweight.measures:measures",
    ),
    metric_parameters={"*rmse_preterm*": ("evaluate.preterm_weeks",), "*rmse_term*": ("evaluate.preterm_weeks",)},
    groups=Groups(figure="rmse", instances="births"),
    card=Card(
        task="tabular-regression",
        tags=("birth-weight",),
        datasets={"synthetic": "synthetic-us-births", "files": "us-births"},
        data={
            "synthetic": (
                "Synthetic births, drawn by a seeded generator from published figures of births in the United States "
                "(`stages/babyweight/source/facts.yaml`): shares of sex, race, plurality, smoking and weeks, and their "
                "effects on the weight. No person is behind any of them. What the figures do not tell, such as how "
                "race and smoking go together, is not in the data."
            ),
            "files": "Births of files that the user of the pipeline named; their origin is not known to the pipeline.",
        },
        units={
            "is_male": "whether the baby is a boy: True, False or Unknown",
            "mother_age": "completed years",
            "mother_race": "one of the races of the data, such as White, or Unknown",
            "plurality": "number of babies of this pregnancy",
            "gestation_weeks": "completed weeks of gestation",
            "mother_married": "True, False or Unknown",
            "cigarette_use": "True, False, or None: not asked",
            "alcohol_use": "True, False, or None: not asked",
            "outputs": "the predicted weight at birth, in pounds",
        },
        uses=(
            "To learn and to show how a model is trained, exported, measured and served.",
            "To compare methods on a table of mixed numbers and words.",
        ),
        misuses=(
            "No clinical decision, and no statement about a single pregnancy: the error is about a pound, and weights "
            "before a birth are measured, not guessed.",
            "No decision about insurance, work or benefits.",
            "No conclusion about causes: race is an input because the published figures differ by it, and so that "
            "errors can be measured by it. It stands for circumstances that the data do not have.",
        ),
        limits=(
            "A model of synthetic births tells what the generator was told, not how births are.",
            "Rare races and triplets are few in the test data: their intervals are wide.",
        ),
    ),
)
