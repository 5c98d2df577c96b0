"""What this workload says about itself."""

from stages.workloads import Card, Instances, Metric, Workload

WORKLOAD = Workload(
    name="cartpole",
    title="CartPole",
    lead="A deep Q-network, trained until it solves its environment.",
    metrics=(
        Metric("mean_return", "mean return", "{:.1f}"),
        Metric("interquartile_mean_return", "interquartile mean return", "{:.1f}"),
        Metric(
            "min_return",
            "least return",
            "{:.0f}",
            no_interval="the least of a sample tells no least of all",
        ),
        Metric("solved", "solved", no_interval="yes or no: whether the mean return reaches the threshold"),
    ),
    details=(Metric("share_solved", "episodes that reach the threshold", "{:.1%}"),),
    sample_size="episodes",
    curve="return",
    has_data=False,
    conditions={
        "train.env": "environment",
        "train.env_kwargs": "environment's arguments",
        "train.wrappers": "wrappers",
    },
    comparison="stages.cartpole.comparison:compare",
    instances=Instances(
        table="evaluation/returns.csv",
        same=("episode",),
        measures="stages.cartpole.measures:measures",
        parameters=("seed",),
    ),
    card=Card(
        task="reinforcement-learning",
        tags=("deep-reinforcement-learning", "dqn", "gymnasium"),
        data={"": "No data: the agent learned by playing its environment, a simulation."},
        units={
            "observations": "the environment's observations, in its units",
            "actions": "the action of the greatest value, counted from 0",
            "q_values": "the value of each action: the discounted learned reward that is expected",
        },
        uses=("To play the environment that it was trained for.", "To show and compare methods."),
        misuses=("No control of a real machine: nothing was learned of friction, delay or noise.",),
        limits=(
            "It was measured in episodes that begin as the environment lets them begin; other states may be unknown to "
            "it.",
        ),
    ),
)
