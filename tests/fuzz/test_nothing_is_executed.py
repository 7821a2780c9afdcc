"""Nothing that slotcli reads can make it run code: nowhere in it is anything that unpickles."""

import ast
from pathlib import Path

import pytest

import slotcli

ROOT = Path(slotcli.__file__).parent
UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
EXECUTING = {"eval", "exec", "compile", "__import__", "torch.hub.load", "torch.jit.load"}


def offences(text: str) -> list[str]:
    """What in the text of a module could run what it reads."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(text)) if _offends(node)]


def _offends(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in UNPICKLERS for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        # The one name that reads nothing: it is what torch raises.
        names = {alias.name for alias in node.names} - {"UnpicklingError"}
        return (node.module or "").partition(".")[0] in UNPICKLERS and bool(names)
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    options = {word.arg: ast.unparse(word.value) for word in node.keywords}
    return (
        called in EXECUTING
        or (called == "torch.load" and options.get("weights_only") != "True")
        or (called == "np.load" and options.get("allow_pickle") != "False")
    )


def test_no_module_can_run_what_it_reads() -> None:
    modules = sorted(ROOT.rglob("*.py"))
    assert len(modules) > 100
    found = {str(path.relative_to(ROOT)): offences(path.read_text()) for path in modules}
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "def f():\n    import dill",
        "from joblib import load",
        "from pickle import UnpicklingError, load",
        "import torch, pickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "torch.hub.load(name)",
    ],
)
def test_whatever_could_is_noticed(text: str) -> None:
    assert offences(text)


@pytest.mark.parametrize(
    "text",
    [
        "from pickle import UnpicklingError",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "re.compile(text)",
        "model.eval()",
    ],
)
def test_what_cannot_is_let_be(text: str) -> None:
    assert offences(text) == []
