from stages.supervised.stage import run_name
from tests.supervised.task import training


def test_the_name_of_a_run_has_its_steps_only_where_they_matter() -> None:
    def name(schedule: str, steps: int) -> str:
        params = training(schedule=schedule, steps=steps)
        return run_name("mnist", {"parameters": {"mnist": {"train": params.model_dump()}}}, params)

    assert name("constant", 40) == name("constant", 60)
    assert name("one_cycle", 40) != name("one_cycle", 60)
