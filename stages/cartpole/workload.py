"""What this workload says about itself."""

from stages.workloads import Instances, Metric, Workload

WORKLOAD = Workload(
    name="cartpole",
    title="CartPole",
    lead="A deep Q-network, trained until it solves its environment.",
    metrics=(
        Metric("mean_return", "mean return", "{:.1f}"),
        Metric("interquartile_mean_return", "interquartile mean return", "{:.1f}"),
        Metric("min_return", "least return", "{:.0f}"),
        Metric("solved", "solved"),
    ),
    sample_size="episodes",
    has_data=False,
    conditions={"train.env": "environment"},
    comparison="stages.cartpole.comparison:compare",
    instances=Instances(
        table="evaluation/returns.csv",
        same=("episode",),
        measures="stages.cartpole.measures:measures",
        parameters=("seed",),
    ),
)
