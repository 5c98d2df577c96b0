"""What this workload says about itself."""

from stages.workloads import Card, Groups, Instances, Metric, Workload

WORKLOAD = Workload(
    name="mnist",
    title="MNIST",
    lead="Which digit an image of 28 by 28 pixels shows.",
    metrics=(
        Metric("accuracy", "accuracy", "{:.2%}"),
        Metric("loss", "cross entropy", "{:.4f} nats"),
        Metric("expected_calibration_error", "expected calibration error", "{:.2%}"),
    ),
    details=(Metric("recall.*", "recall of {}", "{:.2%}"),),
    sample_size="test_images",
    comparison="stages.mnist.comparison:compare",
    instances=Instances(table="examples.csv", same=("image", "actual"), measures="stages.mnist.measures:measures"),
    metric_parameters={"expected_calibration_error*": ("evaluate.calibration_bins",)},
    groups=Groups(figure="accuracy", instances="images"),
    card=Card(
        task="image-classification",
        tags=("digits",),
        datasets={"": "mnist"},
        data={
            "": (
                "Images of 28 by 28 grey pixels in MNIST's format, by default MNIST itself (LeCun, Cortes and Burges): "
                "digits of American high-school students and employees of the Census Bureau, centred and scaled. The "
                "training images were distorted at random."
            )
        },
        units={
            "inputs": "grey values from 0, the ground, to 1, the ink, row by row",
            "classes": "the most probable digit",
            "probabilities": "the probability of each digit, from 0 to 9",
        },
        uses=("To read single digits that are prepared as MNIST's are.", "To show and compare methods."),
        misuses=(
            "No reading of amounts, forms or addresses without a person who checks: a wrong digit looks as sure as a "
            "right one.",
            "No images of another kind: the model answers with a digit whatever it is shown.",
        ),
        limits=(
            "It was not trained on digits off the centre, of another size, or with dark strokes on a light ground.",
            "The test images are a well-known set: methods were chosen by it for decades.",
        ),
    ),
)
