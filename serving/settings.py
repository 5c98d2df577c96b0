"""The schema of `settings.yaml`, which publishing and the server read."""

import argparse
from pathlib import Path

from stages.core.params import Count, Index, NonNegative, Positive, Section, Text, load, validate

SETTINGS = Path(__file__).with_suffix(".yaml")


class Loading(Section):
    """How the server looks for versions, and tries to load one again."""

    poll_seconds: NonNegative
    address_poll_seconds: NonNegative
    max_retries: Index
    retry_seconds: NonNegative
    modules: list[Text]
    operations: list[Text]


class Limits(Section):
    """What the server refuses."""

    body_bytes: Count
    bodies_bytes: Count
    values: Count
    instances: Count
    concurrency: Count
    seconds: Positive
    head_bytes: Count
    head_seconds: Positive
    connections: Count
    idle_seconds: Positive


class Stop(Section):
    """How the server stops after SIGTERM."""

    delay_seconds: NonNegative
    grace_seconds: NonNegative


class Access(Section):
    """Who may ask."""

    origins: list[Text]


class Batching(Section):
    """How concurrent requests are joined into one call."""

    row_independent_models: list[Text]
    rows: Count
    wait_ms: NonNegative


class Settings(Section):
    """All settings."""

    threads: Index
    keep: Count
    loading: Loading
    limits: Limits
    stop: Stop
    access: Access
    batching: Batching


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names the settings file."""
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="settings file")


def read_settings(path: Path = SETTINGS) -> Settings:
    """Read and check the settings.

    Raises:
        InputError: if the file is missing, or a key is unknown, missing, of the wrong type or out of range.
    """
    return validate(Settings, load(path), path)
