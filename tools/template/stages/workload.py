"""What this workload says about itself."""

from stages.workloads import Card, Metric, Workload

WORKLOAD = Workload(
    name="wines",
    title="Wines",
    lead="Which of three varieties a wine is of, from its alcohol, acidity and colour.",
    metrics=(Metric("accuracy", "accuracy", "{:.1%}"), Metric("loss", "cross entropy", "{:.3f} nats")),
    sample_size="test_rows",
    card=Card(
        task="tabular-classification",
        datasets={"": "wines"},
        data={"": "A table of wines, drawn at random: an example to be replaced."},
        units={"alcohol": "percent by volume", "acidity": "grams per litre", "colour": "intensity"},
        uses=("To begin a workload with.",),
        misuses=("No statement about real wines: the rows are drawn at random.",),
        limits=("Wines of a fourth variety are taken for one of the three.",),
    ),
)
