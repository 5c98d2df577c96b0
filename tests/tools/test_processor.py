"""The record of the processor that made the committed outputs."""

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import processor

LOCK = """
schema: '2.0'
stages:
  train:
    cmd: train
    deps:
    - path: train.py
      md5: {code}
    outs:
    - path: weights
      md5: {weights}
"""


def test_the_record_follows_the_outputs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processor, "describe", lambda: "the first")
    lock, record = tmp_path / processor.LOCK, tmp_path / processor.RECORD
    lock.write_text(LOCK.format(code="a", weights="b"))
    processor.main()
    assert processor.writer(lock.read_text(), record.read_text()) == "the first"

    monkeypatch.setattr(processor, "describe", lambda: "the second")
    lock.write_text(LOCK.format(code="other code, same outputs", weights="b"))
    before = record.read_bytes()
    processor.main()
    assert record.read_bytes() == before

    lock.write_text(LOCK.format(code="a", weights="other outputs"))
    assert processor.writer(lock.read_text(), record.read_text()) is None
    processor.main()
    assert json.loads(record.read_text())["processor"] == "the second"


def test_a_missing_record_names_no_processor() -> None:
    assert processor.writer(LOCK.format(code="a", weights="b"), None) is None


def test_this_processor_has_a_name() -> None:
    assert len(processor.describe().split()) > 2


def test_the_committed_record_is_of_the_committed_outputs() -> None:
    assert processor.writer(*((ROOT / path).read_text() for path in (processor.LOCK, processor.RECORD)))
