"""This project's agent: the stage's own code, timed in parts."""

from benchmarks.peers.common import Contest
from stages import runtime
from stages.cartpole import model
from stages.cartpole.train import DQN


def main() -> None:
    """Train, save, report."""
    contest = Contest()
    runtime.configure(contest.params.runtime)
    run = DQN(contest.params)
    run.trial = contest.own_trial()
    run.learner.compile()
    contest.start()
    while run.steps < run.train.total_timesteps and not run.round():
        pass
    contest.finish(run.act, run.steps, run.learner.updates)
    model.save(run.learner.saved, run.config, contest.weights)


if __name__ == "__main__":
    main()
