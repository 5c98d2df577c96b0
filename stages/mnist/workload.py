"""What this workload says about itself."""

from stages.workloads import Groups, Instances, Metric, Workload

WORKLOAD = Workload(
    name="mnist",
    title="MNIST",
    lead="Which digit an image of 28 by 28 pixels shows.",
    metrics=(
        Metric("accuracy", "accuracy", "{:.2%}"),
        Metric("loss", "cross entropy", "{:.4f} nats"),
        Metric("expected_calibration_error", "expected calibration error", "{:.2%}"),
    ),
    sample_size="test_images",
    comparison="stages.mnist.comparison:compare",
    instances=Instances(table="examples.csv", same=("image", "actual"), measures="stages.mnist.measures:measures"),
    metric_parameters={"expected_calibration_error*": ("evaluate.calibration_bins",)},
    groups=Groups(figure="accuracy", instances="images"),
)
