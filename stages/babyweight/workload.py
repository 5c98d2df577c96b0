"""What this workload says about itself."""

from stages.workloads import Metric, Workload

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
)
