"""What this workload says about itself."""

from stages.workloads import Metric, Workload

WORKLOAD = Workload(
    name="wines",
    title="Wines",
    lead="Which of three varieties a wine is of, from its alcohol, acidity and colour.",
    metrics=(Metric("accuracy", "accuracy", "{:.1%}"), Metric("loss", "cross entropy", "{:.3f} nats")),
    sample_size="test_rows",
)
