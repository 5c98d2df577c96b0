"""Which operations a graph may hold that is served.

A SavedModel is a program: TensorFlow's operations read and write files, open connections and call Python. Models that
answer requests need none of these, apart from restoring their own variables and reading their own assets.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.errors import InputError
from stages.savedmodel.graph import serving_graph

REFUSED = frozenset(
    """
    Abort CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CreateSummaryDbWriter CreateSummaryFileWriter
    CSVDataset CSVDatasetV2 DatasetToTFRecord DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3
    DataServiceDatasetV4 DebugIdentity DebugIdentityV2 DebugIdentityV3 DebugNanCount DebugNumericSummary
    DebugNumericSummaryV2 DistributedSave DumpTensor EagerPyFunc ExperimentalCSVDataset
    ExperimentalDatasetToTFRecord ExperimentalLMDBDataset ExperimentalMatchingFilesDataset
    ExperimentalSqlDataset FileSystemSetConfiguration FixedLengthRecordDataset FixedLengthRecordDatasetV2
    FixedLengthRecordReader FixedLengthRecordReaderV2 FixedUnigramCandidateSampler GenerateVocabRemapping
    ListSnapshotChunksDataset LMDBDataset LMDBReader LoadAndRemapMatrix LoadDataset MatchingFiles
    MatchingFilesDataset PyFunc PyFuncStateless ReadFile RecordInput RegisterDataset RegisterDatasetV2 RpcCall
    RpcClient RpcServer RpcServerRegister RpcServerStart SaveDataset SaveDatasetV2 Skipgram SnapshotChunkDataset
    SnapshotDataset SnapshotDatasetReader SnapshotDatasetV2 SnapshotNestedDatasetReader SqlDataset
    TextLineDataset TextLineReader TextLineReaderV2 TFRecordDataset TFRecordDatasetV2 TFRecordReader
    TFRecordReaderV2 WholeFileReader WholeFileReaderV2 WriteFile XlaCustomCall XlaCustomCallV2
    """.split()  # noqa: SIM905
)
"""Operations that touch files, processes, the network or Python."""

SAVES = frozenset(["MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2"])
RESTORES = frozenset(["DTensorRestoreV2", "Restore", "RestoreSlice", "RestoreV2"])
"""Operations on checkpoints. A SavedModel holds them to save and restore its variables, apart from its signatures."""

TABLES = frozenset(["InitializeTableFromTextFile", "InitializeTableFromTextFileV2"])
"""Operations that read a vocabulary, which must be an asset of the model."""

_MAIN = ""
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def check_operations(path: Path, allowed: Collection[str]) -> None:
    """Check that nothing in a SavedModel that can run touches files, processes, the network or Python.

    Args:
        path: the SavedModel.
        allowed: operations that may be in it all the same.

    Raises:
        InputError: naming the operations, or an asset that lies elsewhere; or as `serving_graph`.
    """
    graph = _Graph.of(serving_graph(path))
    found = set(graph.refused()) - set(allowed)
    if found:
        raise InputError(
            f"{path}: the operations {', '.join(sorted(found))} touch files, processes or Python, and are not among "
            "loading.operations"
        )


@dataclass
class _Graph:
    """The nodes of a graph, by scope (the graph itself, or one of its functions) and name."""

    nodes: dict[str, dict[str, Any]]
    arguments: dict[str, list[str]]  # of each function
    assets: set[str]  # nodes that hold the path of an asset
    bound: dict[str, list[bool]]  # for each function that TensorFlow 2 restores: whether what it captured is an asset
    started: set[str]  # nodes that are run to serve: for signatures and at the start
    restored: set[str]  # nodes that are run to restore variables
    callers: dict[str, list[tuple[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, meta: Any) -> "_Graph":
        """The graph of a `MetaGraphDef`.

        Raises:
            InputError: if the file of an asset lies elsewhere than with the assets.
        """
        nodes = {_MAIN: {node.name: node for node in meta.graph_def.node}}
        arguments = {}
        for function in meta.graph_def.library.function:
            nodes[function.signature.name] = {node.name: node for node in function.node_def}
            arguments[function.signature.name] = [argument.name for argument in function.signature.input_arg]
        for asset in meta.asset_file_def:
            if Path(asset.filename).name != asset.filename:
                raise InputError(f"the asset {asset.filename!r} lies elsewhere than with the assets")
        objects = meta.object_graph_def.nodes
        bound = {
            name: [objects[i].WhichOneof("kind") == "asset" for i in function.bound_inputs]
            for name, function in meta.object_graph_def.concrete_functions.items()
        }
        started = {
            tensor.name.partition(":")[0]
            for signature in meta.signature_def.values()
            for tensor in [*signature.outputs.values(), *signature.inputs.values()]
        }
        for name in ("saved_model_main_op", "legacy_init_op"):
            started.update(meta.collection_def[name].node_list.value)
        saver = meta.saver_def
        assets = {asset.tensor_info.name.partition(":")[0] for asset in meta.asset_file_def}
        graph = cls(nodes, arguments, assets, bound, started, {saver.restore_op_name} - {""})
        for scope, found in nodes.items():
            for node in found.values():
                for function in graph.functions(node):
                    graph.callers[function].append((scope, node))
        return graph

    def functions(self, node: Any) -> Iterator[str]:
        """The functions that a node calls."""
        names = [node.op]
        for attribute in node.attr.values():
            names += [attribute.func.name, *(function.name for function in attribute.list.func)]
        return (name for name in names if name in self.arguments)

    def refused(self) -> Iterator[str]:
        """The operations that may not be served."""
        for scope, nodes in self.nodes.items():
            for node in nodes.values():
                prints = node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")
                if node.op in REFUSED or prints or (node.op in TABLES and not self._is_asset(scope, node.input[1], 0)):
                    yield node.op
        yield from self._reached(self.started, self.bound) & (SAVES | RESTORES)
        yield from self._reached(self.restored, {}) & SAVES

    def _reached(self, names: Collection[str], functions: Mapping[str, Any]) -> set[str]:
        """The operations that run when nodes of the graph, or whole functions, do."""
        waiting = [(_MAIN, name) for name in names]
        waiting += [(function, name) for function in functions for name in self.nodes.get(function, ())]
        seen = set(waiting)
        found = set()
        while waiting:
            scope, name = waiting.pop()
            node = self.nodes[scope].get(name)
            if node is None:  # an argument of the function
                continue
            found.add(node.op)
            following = {(scope, source.lstrip("^").partition(":")[0]) for source in node.input}
            following |= {(function, inner) for function in self.functions(node) for inner in self.nodes[function]}
            waiting += following - seen
            seen |= following
        return found

    def _is_asset(self, scope: str, source: str, depth: int) -> bool:
        """Whether what a node takes is the path of an asset, wherever it is called from."""
        name = source.partition(":")[0]
        if depth > 100:  # functions that call each other
            return False
        if scope != _MAIN and name in self.arguments[scope]:
            at = self.arguments[scope].index(name)
            captured = self.bound.get(scope, [])
            first = len(self.arguments[scope]) - len(captured)
            if not self.callers[scope] and at < first:
                return False
            return (at < first or captured[at - first]) and all(
                node.op in (scope, *_CALLS) and self._is_asset(where, node.input[at], depth + 1)
                for where, node in self.callers[scope]
            )
        node = self.nodes[scope].get(name)
        if node is not None and node.op == "Identity":
            return self._is_asset(scope, node.input[0], depth + 1)
        if node is not None and node.op == "ReadVariableOp" and scope == _MAIN:
            return self._holds_asset(node.input[0].partition(":")[0], depth + 1)
        return scope == _MAIN and name in self.assets

    def _holds_asset(self, name: str, depth: int) -> bool:
        """Whether nothing but the path of an asset is ever assigned to a variable of the graph."""
        handles = [n for nodes in self.nodes.values() for n in nodes.values() if n.op == "VarHandleOp"]
        variable = self.nodes[_MAIN].get(name)
        if variable is None or variable.op != "VarHandleOp":
            return False
        if [h.attr["shared_name"].s for h in handles].count(variable.attr["shared_name"].s) > 1:
            return False
        for node in self.nodes[_MAIN].values():
            if any(source.partition(":")[0] == name for source in node.input):
                assigned = node.op == "AssignVariableOp" and self._is_asset(_MAIN, node.input[1], depth + 1)
                if not assigned and node.op not in ("ReadVariableOp", "VarIsInitializedOp"):
                    return False
        return True
