"""Training by several replicas, each of which takes its part of every batch, on one machine or on several.

How many replicas there are is a parameter, where they run is not: `TF_CONFIG` says that, as TensorFlow defines it
(tensorflow.org/guide/distributed_training#TF_CONFIG). What they exchange is not rounded on the way (`trainer.total`),
so the bytes are the same in one process, in several and on several machines. The first process is the chief: it alone
writes.

The chief keeps a connection to every other process, opened on that one's own port before TensorFlow listens there.
It ends when the process does, however that ends; so none is left waiting for one that is gone.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.distribute.collective_all_reduce_strategy import CollectiveAllReduceExtended

from stages.core.errors import InputError

_CALL, _HERE, _START, _DONE = b"who is there?\n", b"a worker\n", b"start\n", b"done\n"
_RETRY_SECONDS = 0.2
_SECONDS_TO_HEAR = 5


@dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Args:
        addresses: `host:port` of each, the chief's first; one or none: this process alone.
        index: this process's place among them.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0

    @property
    def processes(self) -> int:
        """How many there are."""
        return max(len(self.addresses), 1)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes."""
        return self.index == 0


ALONE = Cluster()


def from_environment() -> Cluster:
    """The cluster that `TF_CONFIG` describes.

    Raises:
        InputError: if it is no such description, or this process has no place in it.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return ALONE
    try:
        config = json.loads(text)
        jobs = config.get("cluster", {})
        addresses = [address for job in ("chief", "worker") for address in jobs.get(job, [])]
        if not addresses:
            return ALONE
        kind, index = config["task"]["type"], int(config["task"]["index"])
        mine = jobs[kind][index]
        for address in addresses:
            _host_and_port(address)
    except (ValueError, TypeError, AttributeError, LookupError):
        expected = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
        raise InputError(f"TF_CONFIG: {text}: expected {expected}") from None
    if other := set(jobs) - {"chief", "worker"}:
        raise InputError(f"TF_CONFIG: cluster: {', '.join(sorted(other))}: expected no jobs but chief and worker")
    if len(set(addresses)) < len(addresses):
        raise InputError(f"TF_CONFIG: cluster: {', '.join(addresses)}: expected each address once")
    return Cluster(tuple(addresses), addresses.index(mine))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Links:
    """A connection between the chief and each other process, that tells either of the other's end.

    Args:
        cluster: the processes.
        seconds: how long to wait for one that does not come, or does not answer any more.
    """

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self._cluster, self._seconds = cluster, seconds
        self._finished = threading.Event()
        deadline = time.monotonic() + seconds
        if cluster.is_chief:
            self._sockets = [self._call(address, deadline) for address in cluster.addresses[1:]]
            self._send(_START)
        else:
            self._sockets = [self._wait_for_chief(deadline)]
        self._threads = [
            threading.Thread(target=self._watch, args=link, daemon=True)
            for link in zip(self._sockets, self._others(), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def _others(self) -> Sequence[str]:
        addresses = self._cluster.addresses
        if self._cluster.is_chief:
            return [f"worker {address}" for address in addresses[1:]]
        return [f"the chief {addresses[0]}"]

    def _call(self, address: str, deadline: float) -> socket.socket:
        """Connect to a worker as soon as it is there."""
        while (left := deadline - time.monotonic()) > 0:
            try:
                link = socket.create_connection(_host_and_port(address), timeout=left)
                link.sendall(_CALL)
                if _receive(link) == _HERE:
                    return self._keep(link)
                link.close()
            except OSError:
                pass
            time.sleep(_RETRY_SECONDS)
        raise InputError(f"worker {address}: did not come within {self._seconds:g} s")

    def _wait_for_chief(self, deadline: float) -> socket.socket:
        """Be called by the chief, and told that all are there."""
        chief, mine = self._cluster.addresses[0], self._cluster.addresses[self._cluster.index]
        _, port = _host_and_port(mine)
        try:
            listener = socket.create_server(("", port), backlog=8)
        except OSError as error:
            raise InputError(f"TF_CONFIG: {mine}: cannot listen there: {error.strerror}") from None
        with listener:
            while (left := deadline - time.monotonic()) > 0:
                listener.settimeout(left)
                with contextlib.suppress(OSError):
                    link, _ = listener.accept()
                    link.settimeout(left)
                    if _receive(link) == _CALL:
                        link.sendall(_HERE)
                        link.settimeout(self._seconds)
                        if _receive(link) == _START:
                            signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the chief saves first
                            return self._keep(link)
                    link.close()
        raise InputError(f"the chief {chief}: did not come within {self._seconds:g} s")

    def _keep(self, link: socket.socket) -> socket.socket:
        """Have the connection end, too, when the other machine does not answer any more."""
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        seconds = max(int(self._seconds), 1)
        for name, value in (
            ("TCP_KEEPIDLE", max(seconds // 2, 1)),
            ("TCP_KEEPINTVL", max(seconds // 6, 1)),
            ("TCP_KEEPCNT", 3),
        ):
            if hasattr(socket, name):  # macOS has another name for the first
                link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        return link

    def _send(self, message: bytes) -> None:
        for link in self._sockets:
            with contextlib.suppress(OSError):  # its own thread tells that it is gone
                link.sendall(message)

    def _watch(self, link: socket.socket, other: str) -> None:
        """End this process, which cannot be woken from a step, when the other is gone."""
        try:
            message = _receive(link)
        except OSError:
            message = b""
        if message == _DONE:
            self._finished.set()
        elif not self._finished.is_set():
            _leave(f"{other} is gone; start all processes again to go on from the last checkpoint")

    def finish(self) -> None:
        """As the chief, after the outputs are written: let the others go. As another process: wait for that."""
        if self._cluster.is_chief:
            self._finished.set()
            self._send(_DONE)
            for thread in self._threads:
                thread.join(self._seconds)
        else:
            self._finished.wait()

    def no_longer_needed(self) -> None:
        """Do not mind any more if another process is gone."""
        self._finished.set()


def _receive(link: socket.socket) -> bytes:
    """A line; empty at the connection's end."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 64:
        byte = link.recv(1)
        if not byte:
            return b""
        line += byte
    return line


def _leave(message: str) -> NoReturn:
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
    os._exit(1)


class _Ring(CollectiveAllReduceExtended):  # type: ignore[misc]
    """`MultiWorkerMirroredStrategy` with some devices a process, where TensorFlow's takes one CPU or every GPU."""

    def __init__(self, strategy: Any, kind: str, devices: int) -> None:
        self._kind, self._names = kind, tuple(f"/device:{kind}:{i}" for i in range(devices))
        form = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=form.NCCL if kind == "GPU" else form.RING
        )
        super().__init__(strategy, None, options)

    def _initialize_local_devices(self, _: Any, worker_device: str) -> tuple[tuple[str, ...], str]:
        return tuple(worker_device + name for name in self._names), self._kind


class _RingStrategy(tf.distribute.MultiWorkerMirroredStrategy):  # type: ignore[misc]
    def __init__(self, kind: str, devices: int) -> None:
        tf.distribute.Strategy.__init__(self, _Ring(self, kind, devices))


def _strategy(cluster: Cluster, replicas: int) -> Any:
    """TensorFlow's strategy for so many replicas in all; its default one for a single replica.

    Raises:
        InputError: if there are fewer GPUs.
    """
    here = replicas // cluster.processes
    if replicas == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < here:
        raise InputError(f"replicas: {replicas}: expected at most {len(gpus)} in this process, one a GPU")
    if not gpus:
        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * here)
    kind = "GPU" if gpus else "CPU"
    if cluster.processes == 1:
        return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(here)])
    return _RingStrategy(kind, here)


class Machines:
    """Where a training run's replicas are.

    Args:
        cluster: the processes.
        strategy: TensorFlow's, of all replicas, if there are several processes.
        links: between the processes, if there are several.
    """

    def __init__(self, cluster: Cluster = ALONE, strategy: Any = None, links: Links | None = None) -> None:
        self.is_chief, self._strategy, self._links = cluster.is_chief, strategy, links

    def from_chief(self, data: bytes) -> bytes:
        """What the chief gives; what another process gives is ignored.

        Summed as whole numbers: as others, -0.0 + 0.0 is no -0.0.
        """
        if self._links is None:
            return data
        length = int(self._sum(np.array([len(data)], np.int64))[0])
        padded = np.zeros(-(-length // 4) * 4, np.uint8)
        if self.is_chief:
            padded[:length] = np.frombuffer(data, np.uint8)
        return bytes(self._sum(padded.view(np.int32)).tobytes()[:length])

    def _sum(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        def total(part: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = tf.equal(context.replica_id_in_sync_group, 0)
            return context.all_reduce("SUM", part * tf.cast(is_first, part.dtype))

        result = tf.function(lambda part: self._strategy.run(total, (part,)))(tf.constant(values))
        return np.asarray(self._strategy.experimental_local_results(result)[0])

    def trained(self) -> None:
        """Say that the chief needs the others no more."""
        if self._links and self.is_chief:
            self._links.no_longer_needed()


@contextlib.contextmanager
def machines(replicas: int, seconds: float) -> Iterator[Machines]:
    """Join the cluster, and build and train a model in its strategy's scope.

    Must come before the process makes its first tensor.

    Args:
        replicas: how many, over all processes.
        seconds: how long to wait for a process that does not come, or does not answer any more.

    Raises:
        InputError: if a process does not come in time, the replicas cannot be divided, or TensorFlow's connection
            between the processes fails.
    """
    cluster = from_environment()
    if replicas % cluster.processes:
        raise InputError(f"replicas: {replicas}: expected a multiple of the {cluster.processes} processes of TF_CONFIG")
    links = Links(cluster, seconds) if cluster.processes > 1 else None
    try:
        strategy = _strategy(cluster, replicas)
        with strategy.scope():
            yield Machines(cluster, strategy, links)
    except tf.errors.OpError as error:
        if links is None:
            raise
        time.sleep(_SECONDS_TO_HEAR)  # usually another process is gone, and its link says so better
        raise InputError(f"between the processes of TF_CONFIG: {str(error.message).splitlines()[0]}") from None
    if links:
        links.finish()
