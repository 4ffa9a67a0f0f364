"""The one file that goes with every saved ensemble."""

import ast
import collections

from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.modelling.code import code_text
from hf_compress.ensembling.modelling.models import ParallelEnsemble
from hf_compress.ensembling.modelling.places import KINDS

TREE = ast.parse(code_text())


def test_it_imports_nothing_of_this_package():
    modules = {
        module
        for node in ast.walk(TREE)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    third = {module.split(".")[0] for module in modules}
    assert {"torch", "transformers"} <= third and "hf_compress" not in third
    assert third <= {"torch", "transformers", "huggingface_hub", "safetensors", *__import__("sys").stdlib_module_names}


def test_no_name_is_there_twice():
    """Two files with one private name would be told apart by nobody."""
    names = collections.Counter()
    for node in TREE.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names.update(part.id for part in ast.walk(target) if isinstance(part, ast.Name))
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_every_kind_and_every_combiner_is_in_it():
    classes = {node.name for node in TREE.body if isinstance(node, ast.ClassDef)}
    assert {kind.__name__ for kind in KINDS} <= classes and ParallelEnsemble in KINDS
    assert {one.__name__ for one in Combiner.available().values()} <= classes


def test_files_come_after_those_that_they_need():
    """Bases and decorators are looked up as the file is read."""
    known = set(dir(__builtins__)) | set(__builtins__ if isinstance(__builtins__, dict) else ())
    for node in TREE.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if isinstance(node, ast.ClassDef):
            used = {
                one.id
                for base in (*node.bases, *node.decorator_list)
                for one in ast.walk(base)
                if isinstance(one, ast.Name)
            }
            assert used <= known, (node.name, used - known)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            known.add(node.name)
