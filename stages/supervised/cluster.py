"""The replicas of a training run: devices of one process, or processes on one or several machines.

The number of replicas is a parameter; where they run is not. `TF_CONFIG` lists the processes, in TensorFlow's format
(tensorflow.org/guide/distributed_training#TF_CONFIG), and the first one is the chief: it alone writes. TensorFlow's
`MultiWorkerMirroredStrategy` connects them. Its coordination service notices when one is gone, and the others end.
"""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from stages.core.errors import InputError

About = Callable[[], Mapping[str, Any]]

_EXPECTED = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The replicas that train together, seen from one process.

    Args:
        strategy: TensorFlow's strategy over all replicas.
        is_chief: whether this process writes.
        processes: how many processes there are.
    """

    strategy: Any = field(default_factory=tf.distribute.get_strategy)
    is_chief: bool = True
    processes: int = 1

    def broadcast(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the chief's array in every process.

        Args:
            values: numbers of 4 or 8 bytes, in the same shape everywhere. What a worker passes is ignored.
        """
        if self.processes == 1:
            return values
        words = values.reshape(-1).view(np.int32)  # summed as integers, since -0.0 + 0.0 is not -0.0

        def summand(context: Any) -> tf.Tensor:
            return tf.constant(words * (context.replica_id_in_sync_group == 0))

        summands = self.strategy.experimental_distribute_values_from_function(summand)
        total: npt.NDArray[np.int32] = self.strategy.reduce("SUM", summands, axis=None).numpy()
        return total.view(values.dtype).reshape(values.shape)

    def wait(self) -> None:
        """Return once every process has called this."""
        self.broadcast(np.zeros(1))

    def leave(self) -> None:
        """End this process of a cluster, once a call of `wait` has shown that all have succeeded.

        A process that ends at once can cut off another one's answer in that call. Here nobody ends before all have
        come, and to be cut off does not matter any more. TensorFlow's threads of a cluster can crash while the
        interpreter shuts down, so that is left out. Does nothing without other processes.
        """
        if self.processes == 1:
            return
        with contextlib.suppress(tf.errors.OpError):
            self.wait()
        os._exit(0)


def read_tf_config() -> tuple[list[str], int]:
    """Read the addresses of all processes from `TF_CONFIG`, the chief's first, and this process's index.

    Returns:
        No addresses and index 0 if there is no cluster.

    Raises:
        InputError: if `TF_CONFIG` is malformed, or this process is not in it.
    """
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
        jobs = config.get("cluster", {})
        addresses = [address for job in ("chief", "worker") for address in jobs.get(job, [])]
        if not addresses:
            return [], 0
        own = jobs[config["task"]["type"]][int(config["task"]["index"])]
        for address in addresses:
            _host_and_port(address)
    except (ValueError, TypeError, AttributeError, LookupError):
        raise InputError(f"TF_CONFIG: {text}: expected {_EXPECTED}") from None
    if other := set(jobs) - {"chief", "worker"}:
        raise InputError(f"TF_CONFIG: cluster: {', '.join(sorted(other))}: expected no jobs but chief and worker")
    if len(set(addresses)) < len(addresses):
        raise InputError(f"TF_CONFIG: cluster: {', '.join(addresses)}: expected each address once")
    return addresses, addresses.index(own)


def _local_strategy(replicas: int) -> Any:
    """The strategy for one process: a GPU per replica, or virtual CPU devices."""
    if replicas == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < replicas:
        raise InputError(f"replicas: {replicas}: expected at most {len(gpus)}, one per GPU")
    if not gpus:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    return tf.distribute.MirroredStrategy([f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(replicas)])


def _multi_worker_strategy(replicas: int, addresses: list[str], index: int, timeout: float, about: About) -> Any:
    """The strategy for several processes: all GPUs of each, or one CPU each."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    expected = len(addresses) * max(gpus, 1)
    if replicas != expected:
        devices = f"{gpus} GPUs" if gpus else "one CPU"
        raise InputError(f"replicas: {replicas}: expected {expected}: {len(addresses)} processes with {devices} each")
    _wait_for_processes(addresses, index, timeout, about)
    implementation = tf.distribute.experimental.CommunicationImplementation("NCCL" if gpus else "RING")
    options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _wait_for_processes(addresses: list[str], index: int, timeout: float, about: About) -> None:
    """Wait until every process listens at its address, and see that all have the same work.

    TensorFlow would wait for an hour, deaf to Ctrl-C, and end with another cause if two networks differ.
    """
    work: dict[str, Any] = json.loads(json.dumps(_flat(about())))
    deadline = time.monotonic() + timeout
    own, others = addresses[index], addresses[:index] + addresses[index + 1 :]
    try:
        listener = socket.create_server(("", _host_and_port(own)[1]), backlog=len(others), reuse_port=True)
    except OSError as error:
        raise InputError(f"TF_CONFIG: {own}: cannot listen there: {error.strerror}") from None
    with listener:
        for address in others:
            while not _listens(address):
                if time.monotonic() > deadline:
                    raise InputError(f"TF_CONFIG: {address}: expected a process there within {timeout:g} s")
                time.sleep(0.2)
        listener.settimeout(timeout)
        try:
            problem = _compare(listener, others, work) if index == 0 else _report(addresses[0], own, work, timeout)
        except (OSError, ValueError) as error:
            chief = addresses[0]
            raise InputError(f"TF_CONFIG: {chief}: expected to compare all processes' work there: {error}") from None
    if problem:
        raise InputError(f"TF_CONFIG: {problem}")


def _compare(listener: socket.socket, workers: list[str], own: dict[str, Any]) -> str:
    """Hear every worker's work, and tell all of them what differs from the chief's; "" if nothing does."""
    problem, connections = "", list[socket.socket]()
    with contextlib.ExitStack() as stack:
        while len(connections) < len(workers):
            connection = stack.enter_context(listener.accept()[0])
            connection.settimeout(listener.gettimeout())
            if not (text := _receive(connection)):  # it only asked whether somebody listens
                continue
            connections.append(connection)
            worker, theirs = json.loads(text)
            keys = [key for key in sorted(own.keys() | theirs.keys()) if own.get(key) != theirs.get(key)]
            if keys:
                values = f"{theirs.get(keys[0])!r}; the chief has {own.get(keys[0])!r}"
                more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
                problem = problem or f"{worker}: {keys[0]}{more}: {values}; expected the same in every process"
        for connection in connections:
            connection.sendall(problem.encode())
    return problem


def _report(chief: str, address: str, own: dict[str, Any], timeout: float) -> str:
    """Tell the chief this worker's work; return what differs in any worker."""
    with socket.create_connection(_host_and_port(chief), timeout) as connection:
        connection.sendall(json.dumps([address, own]).encode())
        connection.shutdown(socket.SHUT_WR)
        return _receive(connection).decode()


def _receive(connection: socket.socket) -> bytes:
    """All bytes until the other side has sent its last."""
    with connection.makefile("rb") as file:
        return file.read()


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested values by their whole keys; parameters by those of `params.yaml`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = key if above in ("", "parameters") else f"{above}.{key}"
        flat |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


def _listens(address: str) -> bool:
    try:
        socket.create_connection(_host_and_port(address), timeout=1).close()
    except OSError:
        return False
    return True


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def join(replicas: int, timeout: float, about: About = dict) -> Iterator[Cluster]:
    """Join the cluster of `TF_CONFIG`; build and train a model in its strategy's scope.

    Must be entered before the process creates its first tensor.

    Args:
        replicas: number of replicas over all processes.
        timeout: seconds to wait for the other processes to start.
        about: what the work depends on, as JSON values; it must be equal in all processes.

    Raises:
        InputError: if the replicas do not fit the processes, one does not start in time or has other work, or one ends.
    """
    addresses, index = read_tf_config()
    if len(addresses) <= 1:
        strategy = _local_strategy(replicas)
        with strategy.scope():
            yield Cluster(strategy)
        return
    try:
        strategy = _multi_worker_strategy(replicas, addresses, index, timeout, about)
        if index > 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all, and the chief saves first
        with strategy.scope():
            yield Cluster(strategy, index == 0, len(addresses))
    except tf.errors.OpError as error:
        lines = str(error.message).splitlines()
        reason = next((line for line in lines if "aborted by" in line), lines[0])  # after a trace of the graph
        raise InputError(
            f"TF_CONFIG: another process ended; start all again to resume from the last checkpoint ({reason})"
        ) from None
