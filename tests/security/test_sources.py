"""What no source of ours does: run what it reads, or open a picture without a limit."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support import REPOSITORY

SERVICES = ("camera_sampler", "world_model_trainer", "dreamer_agent", "lock_broker")
FOLDERS = (*SERVICES, "shared", "ptzjepa", "benchmarks", "deploy", "docs", "observability")
SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
RUNNERS = {"eval", "exec", "compile", "execfile"}


def name_of(node: ast.expr) -> str:
    """``torch.load`` of a call's function; empty for what is no plain name."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_constant(call: ast.Call, keyword: str, *values: object) -> bool:
    """Whether a call gives a keyword, and as one of these constants."""
    found = [each.value for each in call.keywords if each.arg == keyword]
    return bool(found) and isinstance(found[0], ast.Constant) and found[0].value in values


def faults(source: str, *, opens_pictures: bool = False) -> Iterator[str]:
    """Yield the line and name of everything in a source that must not be there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{node.lineno} import {name}" for name in modules if name.split(".")[0] in PICKLES)
            # Under another name the calls below would not be seen.
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "numpy", "yaml", "os", "subprocess"):
                dangerous = {"load", "save", "unsafe_load", "full_load", "system", "popen", "getoutput"}
                yield from (f"{node.lineno} {alias.name}" for alias in node.names if alias.name in dangerous)
        if isinstance(node, ast.Call) and (fault := fault_of(node, opens_pictures=opens_pictures)):
            yield f"{node.lineno} {fault}"


def fault_of(call: ast.Call, *, opens_pictures: bool) -> str | None:
    name = name_of(call.func)
    if name in RUNNERS or name in ("os.system", "os.popen", "subprocess.getoutput", "asyncio.create_subprocess_shell"):
        return name
    if name in ("torch.load", "torch.jit.load", "torch.hub.load") and not is_constant(call, "weights_only", True):
        return f"{name} without weights_only=True"
    if name == "torch.save":
        return "torch.save, which pickles"
    if name in ("np.load", "numpy.load") and not is_constant(call, "allow_pickle", False):
        return f"{name} without allow_pickle=False"
    if name.startswith("yaml.") and name.endswith(("unsafe_load", "full_load", "unsafe_load_all", "full_load_all")):
        return name
    if name in ("yaml.load", "yaml.load_all"):
        return f"{name}; yaml.safe_load is the one to use"
    if any(each.arg == "shell" for each in call.keywords) and not is_constant(call, "shell", False):
        return "shell="
    if is_constant(call, "verify", False):
        return "verify=False"
    if name == "Image.open" and not opens_pictures:
        return "Image.open; shared.pictures.open_picture is the one to use"
    return None


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_that_is_read_is_run(folder: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{fault}"
        for path in SOURCES
        if path.is_relative_to(REPOSITORY / folder)
        for fault in faults(path.read_text(), opens_pictures=path == REPOSITORY / "shared" / "pictures.py")
    ]
    assert found == []


def test_all_sources_are_looked_at() -> None:
    packages = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} - {"tests"}
    assert packages <= set(FOLDERS)
    assert len(SOURCES) > 200


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle.compat",
        "import torch\ntorch.load('x')",
        "torch.load('x', weights_only=False)",
        "torch.load('x', weights_only=trusting)",
        "torch.save(x, 'y')",
        "from torch import load",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval('1')",
        "exec(text)",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=wanted)",
        "os.system('ls')",
        "httpx.Client(verify=False)",
        "Image.open(path)",
    ],
)
def test_what_must_not_be_there_is_seen(source: str) -> None:
    assert len(list(faults(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load('x', weights_only=True)",
        "safetensors.torch.load(data)",
        "np.load('x', allow_pickle=False)",
        "yaml.safe_load(text)",
        "model.eval()",
        "re.compile('x')",
        "subprocess.run(['ls'], shell=False)",
    ],
)
def test_what_may_be_there_is_let_be(source: str) -> None:
    assert list(faults(source)) == []
