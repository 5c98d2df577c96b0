"""What this workload says about itself."""

from stages.workloads import Groups, Instances, Metric, Workload

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
        measures="stages.babyweight.measures:measures",
    ),
    metric_parameters={"*rmse_preterm*": ("evaluate.preterm_weeks",), "*rmse_term*": ("evaluate.preterm_weeks",)},
    groups=Groups(figure="rmse", instances="births"),
)
