"""The container, the unit and the manifests: linted, and true to the server that they start."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from serving.__main__ import arguments
from serving.settings import read_settings
from tests.conftest import ROOT
from tests.ports import free_port
from tests.serving import models
from tests.serving.conftest import wait_ready

DOCKERFILE, UNIT, MANIFESTS = (ROOT / "deploy" / name for name in ("Dockerfile", "serving.service", "kubernetes.yaml"))


def deployment() -> Any:
    (found,) = [document for document in YAML(typ="safe").load_all(MANIFESTS) if document["kind"] == "Deployment"]
    return found["spec"]["template"]["spec"]


def instruction(name: str) -> str:
    """The last instruction of a Dockerfile by name, in one line."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return str(re.findall(rf"^{name} (.*)$", text, re.MULTILINE)[-1])


def unit(key: str) -> str:
    return str(re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)[-1])


@pytest.mark.parametrize(
    "command",
    [["hadolint", str(DOCKERFILE)], ["kubernetes-validate", "--strict", str(MANIFESTS)]],
    ids=lambda command: command[0],
)
def test_linters(command: list[str]) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    python = tmp_path / "python"  # systemd takes no space in a command's path
    python.symlink_to(sys.executable)
    copy.write_text(UNIT.read_text().replace("/opt/savedmodel-pipeline/.venv/bin/python", str(python)))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert (done.returncode, UNIT.name in done.stderr) == (0, False), done.stderr


COMMANDS = {
    "container": [*YAML(typ="safe").load(instruction("ENTRYPOINT")), *YAML(typ="safe").load(instruction("CMD"))],
    "unit": shlex.split(unit("ExecStart")),
    "manifest": deployment()["containers"][0]["command"],
}


@pytest.mark.parametrize("where", COMMANDS)
def test_the_server_takes_the_options(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    command = COMMANDS[where]
    monkeypatch.setattr(sys, "argv", command[command.index("serving") :])
    args = arguments()
    assert (args.rest_api_port, args.port) == (8501, 8500)


def test_what_waits_for_the_server_to_stop_waits_longer_than_it_takes() -> None:
    stop = read_settings().stop
    takes = stop.delay_seconds + stop.grace_seconds + 2  # answers, and the end of the process
    pod = deployment()
    (_, seconds) = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > takes + float(seconds)
    probe = pod["containers"][0]["readinessProbe"]
    assert stop.delay_seconds + float(seconds) > probe["periodSeconds"] * probe["failureThreshold"]
    assert float(unit("TimeoutStopSec")) > takes


def test_nobody_is_root() -> None:
    assert instruction("USER") == "10001"
    assert deployment()["securityContext"]["runAsNonRoot"] is True
    assert unit("DynamicUser") == "yes"


def test_ports_and_paths_of_probes(tmp_path: Path) -> None:
    """A server of nothing but what the image holds answers the probes at the ports that are named."""
    for source in re.findall(r"^COPY (\w+) \w+$", DOCKERFILE.read_text(), re.MULTILINE):
        shutil.copytree(ROOT / source, tmp_path / "app" / source)
    models.half_plus_two(tmp_path / "published/half/1")
    port = free_port()
    command = [sys.executable, "-m", "serving", "--published", str(tmp_path / "published"), "--port", "0"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(
        [*command, "--rest_api_port", str(port)],
        cwd=tmp_path / "app",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == f"serving on http://127.0.0.1:{port}\n"
            wait_ready(f"http://127.0.0.1:{port}")
            container = deployment()["containers"][0]
            assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"rest": 8501, "grpc": 8500}
            probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
            for probe in probes:
                assert probe["port"] == "rest"
                assert httpx.get(f"http://127.0.0.1:{port}{probe['path']}", timeout=30).status_code == 200
            (url,) = re.findall(r"http://127\.0\.0\.1:8501(/\w+)", DOCKERFILE.read_text())
            assert httpx.get(f"http://127.0.0.1:{port}{url}", timeout=30).status_code == 200
        finally:
            process.kill()
