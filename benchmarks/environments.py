"""Environments of their own for the contestants, and what a table says of the machine."""

import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".benchmarks"


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter of an environment with these packages, made on first use below `.benchmarks/`.

    Not from a lock file with hashes, as the project's own environment is: the contestants and what they need are to be
    those that their users install, nothing of the project imports them, and only those who measure install them.
    """
    folder = FOLDER / name
    interpreter = folder / "bin/python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (folder / "complete").touch()
    return interpreter


def processor() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [x.split(":")[1].strip() for x in information.read_text().splitlines() if x.startswith("model name")]
        return names[0] if names else platform.machine()
    return platform.processor() or platform.machine()
