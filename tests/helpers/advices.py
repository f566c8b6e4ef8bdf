"""The messages of the package and the commands that can raise them, read from the source.

A message belongs to the function that holds it. A command can raise it if a chain of references leads there from the
command's file. A name leads to what it stands for in its module; a method of unknown type leads to every method of that
name in the classes met so far. The graph may hold more chains than can happen, and no fewer.
"""

import ast
import functools
import re
from pathlib import Path

import mcc_keras as mk

ROOT = Path(mk.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
RECEIVED = re.compile(r"Received(?: \w+)?: .*?(?=\. [A-Z]|$)")


def read_modules(root=ROOT):
    """Return the syntax tree of each module by its dotted name."""
    trees = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return trees


class Messages:
    """All messages, and which of them each command reaches.

    Args:
        trees: Dict from the names of modules to their syntax trees.
    """

    def __init__(self, trees):
        self.trees = trees
        self.scopes = {module: _scope(module, tree, trees) for module, tree in trees.items()}
        self.public = _scope(mk.__name__, ast.parse((ROOT / "__init__.pyi").read_text()), trees)
        self.nodes = dict(_definitions(trees))
        self.methods = {}
        for node in self.nodes:
            if _class(node) in self.nodes:
                self.methods.setdefault(node.rpartition(".")[2], []).append(node)

    def of_command(self, command):
        """Return the messages that a command can show, as (module:line, text)."""
        return {found for node in self._reached(f"mcc_keras.cli.{command}") for found in _texts(*self._place(node))}

    def of_all(self):
        """Return all messages but those of the command line's own options."""
        return {
            found
            for module, tree in self.trees.items()
            if not module.startswith("mcc_keras.cli.")
            for found in _texts(module, tree)
        }

    def _place(self, node):
        return node.partition(":")[0], self.nodes[node]

    def _reached(self, module):
        waiting = [node for node in self.nodes if node.partition(":")[0] == module]
        reached, methods = set(), set()
        while waiting:
            node = waiting.pop()
            if node in reached:
                continue
            reached.add(node)
            found, called = self._references(node)
            # A method runs where its class and its name are both met, whichever comes first.
            waiting += found
            named = [each for name in called - methods for each in self.methods.get(name, ())]
            waiting += [each for each in named if _class(each) in reached]
            methods |= called
            waiting += [f"{node}.{name}" for name in methods if f"{node}.{name}" in self.nodes]
        return reached

    @functools.cache  # noqa: B019, since an instance lives as long as the tests
    def _references(self, node):
        module, tree = self._place(node)
        scope, found, methods = self.scopes[module], [], set()
        if isinstance(tree, ast.ClassDef):  # what Python calls by itself, and properties, which look like values
            functions = [each for each in tree.body if isinstance(each, FUNCTIONS)]
            found += [f"{node}.{each.name}" for each in functions if _called_by_python(each)]
        for each in _walk(tree):
            if isinstance(each, ast.Name):
                found += self._resolved(scope.get(each.id), module, each.id)
            elif isinstance(each, ast.Attribute):
                methods.add(each.attr)
                base = scope.get(each.value.id) if isinstance(each.value, ast.Name) else None
                found += self._resolved(f"{base}:{each.attr}" if base in self.trees else None, base, each.attr)
            elif isinstance(each, ast.Constant) and isinstance(each.value, str) and ":" in each.value:
                found += [each.value] if each.value in self.nodes else []  # "module:function" of a table
        return tuple(found), frozenset(methods)

    def _resolved(self, target, module, name):
        if module == mk.__name__:
            target = self.public.get(name)
        for _ in range(5):  # packages pass names of their modules on
            if target is None or target in self.nodes:
                break
            home, _, name = target.partition(":")
            target = self.scopes.get(home, {}).get(name)
        return [target] if target in self.nodes else []


def _scope(module, tree, trees):
    """Return what the names of a module stand for: `module:name`, or the name of a module."""
    scope = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom):
            home = each.module or ""
            home = f"{mk.__name__}.{home}".rstrip(".") if each.level else home
            for alias in each.names:
                whole = f"{home}.{alias.name}"
                scope[alias.asname or alias.name] = whole if whole in trees else f"{home}:{alias.name}"
        elif isinstance(each, ast.Import):
            scope |= {alias.asname or alias.name: alias.name for alias in each.names}
        elif isinstance(each, ast.keyword) and each.arg == "submod_attrs":  # of lazy_loader
            lazy = ast.literal_eval(each.value)
            scope |= {name: f"{module}.{home}:{name}" for home, names in lazy.items() for name in names}
    for each in tree.body:
        scope |= {name: f"{module}:{name}" for name in _bound(each)}
    return scope


def _bound(statement):
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)]


def _definitions(trees):
    for module, tree in trees.items():
        for statement in tree.body:
            for name in _bound(statement):
                yield f"{module}:{name}", statement
            if isinstance(statement, ast.ClassDef):
                for each in statement.body:
                    if isinstance(each, FUNCTIONS):
                        yield f"{module}:{statement.name}.{each.name}", each


def _class(node):
    return node.rpartition(".")[0]


def _called_by_python(function):
    return function.name.startswith("__") or any(
        isinstance(each, ast.Name) and each.id in ("property", "cached_property") for each in function.decorator_list
    )


def _walk(tree):
    """Walk a definition; of a class only what stands outside its methods."""
    inside = [each for each in tree.body if isinstance(each, FUNCTIONS)] if isinstance(tree, ast.ClassDef) else []
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += [child for child in ast.iter_child_nodes(each) if not any(child is method for method in inside)]


def _texts(module, tree):
    """Return the strings of a definition but docstrings; "0" stands for what is filled in, and `Received: …` is cut."""
    skipped = set()
    found = set()
    for each in _walk(tree):
        if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
            skipped.add(id(each.value))  # a docstring
        if isinstance(each, ast.JoinedStr):
            skipped |= {id(part) for part in each.values}
        if id(each) not in skipped and (text := _text(each)):
            found.add((f"{module}:{each.lineno}", RECEIVED.sub("", text)))
    return found


def _text(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "0" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
