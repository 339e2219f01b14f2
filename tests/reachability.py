"""Which definitions of our packages can a process or a command reach?

In: a source tree and its entries (modules that are run, not imported). Out: the names of functions, classes, constants and methods that no
entry reaches. Read from the source with ``ast``; nothing is imported.

What counts as reached, on purpose a little too much rather than too little:
- a name that reached code mentions, also in an annotation; names that a function binds itself are its own;
- a definition that a decorator hands to a framework (``@app.get``, ``@commands.command``), once its module is imported;
- a definition whose name stands beside its module's name in one statement of strings, as in a table of commands, or as ``":name"``;
- a method of a reached class, when a method of its own class names it, or reached code calls a method of that name on anything. A plain
  read of an attribute counts only where no class has a field of that name. Methods of a class with a foreign base, and ``__dunder__``
  methods, are called by others.
Tests, benchmarks and ``__all__`` reach nothing.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Node = tuple[str, str]
"""(module, name), the name of a method being ``Class.method``."""
HARMLESS_DECORATORS = frozenset(
    {
        "dataclass",
        "property",
        "cached_property",
        "cache",
        "lru_cache",
        "contextmanager",
        "asynccontextmanager",
        "staticmethod",
        "classmethod",
    }
)
KNOWN_BASES = frozenset({"Protocol", "Generic", "Enum", "StrEnum", "IntEnum", "Exception", "RuntimeError", "TimeoutError", "ValueError"})
KNOWN_BASES |= {"NamedTuple", "TypedDict", "BaseModel", "OSError"}


@dataclass(kw_only=True)
class Uses:
    """What a piece of source mentions."""

    names: set[Node] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class Module:
    """One file: its definitions, its imports, and the statements that run when it is imported."""

    name: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # local name -> (module, name in it; None: the module itself)
    runs: list[ast.stmt] = field(default_factory=list)


def read_tree(root: Path, folders: Iterable[str]) -> dict[str, Module]:
    """Every module below the folders, by its dotted name."""
    modules = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = _module(name, ast.parse(path.read_text(encoding="utf-8")))
    return modules


def unreached(modules: Mapping[str, Module], *, entries: Iterable[str], packages: Iterable[str], kept: Iterable[str] = ()) -> list[str]:
    """Sorted ``module.name`` of what no entry reaches, in the packages named. Of a ``kept`` module every definition counts as reached."""
    reach = _Reach(modules)
    for entry in entries:
        reach.run(entry)
    for module in kept:
        reach.keep(module)
    reach.settle()
    mine = [name for name in modules if name.split(".")[0] in set(packages)]
    return sorted(f"{module}.{name}" for module in mine for name in reach.names_of(module) if (module, name) not in reach.reached)


def _module(name: str, tree: ast.Module) -> Module:
    module = Module(name=name)
    _sort_statements(module, tree.body)
    return module


def _sort_statements(module: Module, body: list[ast.stmt]) -> None:
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                module.definitions[statement.name] = statement
            case ast.Import() | ast.ImportFrom():
                module.imports |= dict(_imported(statement))
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if not name.startswith("__"):
                    module.definitions[name] = statement
            case ast.Assign(targets=[ast.Tuple(elts=names)]):
                module.definitions |= {one.id: statement for one in names if isinstance(one, ast.Name)}
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Try():
                _sort_statements(module, statement.body)
            case _:
                module.runs.append(statement)


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str | None]]]:
    if isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name, (statement.module or "", alias.name)
    else:
        for alias in statement.names:
            if alias.asname:
                yield alias.asname, (alias.name, None)
            else:  # ``import a.b`` binds a, and loads a.b: kept under a name that no source can mention
                yield from ((name, (name, None)) for name in (alias.name.split(".")[0], alias.name))


class _Reach:
    """The growing set of what is reached."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules = modules
        self.reached: set[Node] = set()
        self._run: set[str] = set()
        self._attributes: set[str] = set()
        self._called: set[str] = set()
        self._named_modules: set[str] = set()  # in strings
        self._named_functions: set[str] = set()  # in strings, as ":name"
        self._fields = {name for module in modules.values() for one in module.definitions.values() for name in _fields(one)}

    def names_of(self, module: str) -> Iterator[str]:
        """Definitions of a module, and the methods of its reached classes."""
        for name, statement in self._modules[module].definitions.items():
            yield name
            if isinstance(statement, ast.ClassDef) and (module, name) in self.reached:
                yield from (f"{name}.{method.name}" for method in _methods(statement))

    def run(self, name: str) -> None:
        """What happens when the module is imported, or run."""
        for parent in (name, *(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))):
            self._run_one(parent)

    def keep(self, module: str) -> None:
        """Every definition of the module, and every method."""
        for name in self._modules[module].definitions:
            self._reach((module, name))
        for name in self.names_of(module):
            self._reach((module, name))

    def _run_one(self, name: str) -> None:
        if name in self._run or name not in self._modules:
            return
        self._run.add(name)
        module = self._modules[name]
        for target, imported in module.imports.values():
            self.run(f"{target}.{imported}" if f"{target}.{imported}" in self._modules else target)
        for statement in module.runs:
            self._mention(_uses(statement, module, self._modules))
        for given, statement in module.definitions.items():
            if _handed_over(statement):
                self._reach((name, given))

    def settle(self) -> None:
        """What is known only when everything else is: which methods are called, and what strings name."""
        before = -1
        while before != len(self.reached):
            before = len(self.reached)
            for found in [_resolve(self._modules, one, name) for one in self._named_modules for name in self._named_functions]:
                if isinstance(found, tuple):
                    self._reach(found)
            for module, name in list(self.reached):
                statement = self._modules[module].definitions.get(name)
                if isinstance(statement, ast.ClassDef):
                    for method in _methods(statement):
                        if self._is_called(statement, method):
                            self._reach((module, f"{name}.{method.name}"))

    def _is_called(self, owner: ast.ClassDef, method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        name, decorators = method.name, {_last(one) for one in method.decorator_list}
        if (name.startswith("__") and name.endswith("__")) or decorators - HARMLESS_DECORATORS or self._has_foreign_base(owner):
            return True
        if decorators & {"property", "cached_property"}:
            return name in self._attributes
        return name in self._called or (name in self._attributes and name not in self._fields)

    def _has_foreign_base(self, owner: ast.ClassDef) -> bool:
        ours = {name for module in self._modules.values() for name, one in module.definitions.items() if isinstance(one, ast.ClassDef)}
        return any(_last(base) not in KNOWN_BASES | ours for base in owner.bases)

    def _reach(self, node: Node) -> None:
        if node in self.reached:
            return
        self.reached.add(node)
        module = self._modules[node[0]]
        owner, _, method = node[1].rpartition(".")
        statement = module.definitions[owner or method]
        self.run(node[0])
        if isinstance(statement, ast.ClassDef) and owner:
            found = next(one for one in _methods(statement) if one.name == method)
            self._mention(_uses(found, module, self._modules, owner=statement))
        elif isinstance(statement, ast.ClassDef):
            methods = set(_methods(statement))
            for part in (
                *statement.bases,
                *statement.keywords,
                *statement.decorator_list,
                *(one for one in statement.body if one not in methods),
            ):
                self._mention(_uses(part, module, self._modules))
        else:
            self._mention(_uses(statement, module, self._modules))

    def _mention(self, uses: Uses) -> None:
        self._attributes |= uses.attributes
        self._called |= uses.called
        self._named_modules |= uses.strings & set(self._modules)
        self._named_functions |= {one[1:] for one in uses.strings if one.startswith(":")}
        for name in uses.modules:
            self.run(name)
        for node in uses.names:
            self._reach(node)


def _methods(owner: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (one for one in owner.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def _name(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return function.name


def _fields(statement: ast.stmt) -> Iterator[str]:
    """Names that instances of a class hold values under."""
    if isinstance(statement, ast.ClassDef):
        for node in ast.walk(statement):
            match node:
                case ast.AnnAssign(target=ast.Name(id=name)) | ast.AnnAssign(target=ast.Attribute(attr=name)):
                    yield name
                case ast.Attribute(attr=name, ctx=ast.Store()):
                    yield name


def _handed_over(statement: ast.stmt) -> bool:
    """A decorator that is not known to be harmless registers what it decorates."""
    decorators = getattr(statement, "decorator_list", [])
    return any(_last(one) not in HARMLESS_DECORATORS for one in decorators)


def _last(expression: ast.expr) -> str:
    """The last name of ``a.b.c(...)[...]``."""
    match expression:
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return _last(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _uses(part: ast.AST, module: Module, modules: Mapping[str, Module], *, owner: ast.ClassDef | None = None) -> Uses:
    visitor = _Mentions(module, modules, owner)
    visitor.visit(part)
    visitor.pair_strings()
    return visitor.uses


class _Mentions(ast.NodeVisitor):
    """Collects what one piece of source mentions."""

    def __init__(self, module: Module, modules: Mapping[str, Module], owner: ast.ClassDef | None) -> None:
        self._module, self._modules = module, modules
        self._owner = owner
        self._own: list[set[str]] = []  # names bound by the functions around
        self._imports: dict[str, tuple[str, str | None]] = {}  # imports inside of functions
        self.uses = Uses()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outside in (*node.decorator_list, node.args, *([node.returns] if node.returns else [])):
            self.visit(outside)
        self._own.append(_bound(node))
        for statement in node.body:
            self.visit(statement)
        self._own.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._own.append({one.arg for one in _arguments(node.args)})
        self.visit(node.body)
        self._own.pop()

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for name, (target, imported) in _imported(node):
            self._imports[name] = (target, imported)
            self.uses.modules.add(f"{target}.{imported}" if f"{target}.{imported}" in self._modules else target)

    visit_ImportFrom = visit_Import

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.uses.strings.add(node.value)
            if node.value in self._module.definitions:  # an annotation in quotes
                self.uses.names.add((self._module.name, node.value))

    def visit_Name(self, node: ast.Name) -> None:
        found = self._look_up(node.id)
        if isinstance(found, tuple):
            self.uses.names.add(found)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self.uses.called.add(node.func.attr)
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            self.uses.called.add(str(node.args[1].value))
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        found = self._path(node)
        if isinstance(found, tuple):
            self.uses.names.add(found)
        elif (
            self._owner and isinstance(node.value, ast.Name) and node.value.id == "self" and node.attr in map(_name, _methods(self._owner))
        ):
            self.uses.names.add((self._module.name, f"{self._owner.name}.{node.attr}"))
        else:
            self.uses.attributes.add(node.attr)
            self.visit(node.value)

    def pair_strings(self) -> None:
        """A table such as {"up": "services.cli.up.command"} reaches ``up`` in that module."""
        for name in {one.partition(":")[0] for one in self.uses.strings} & set(self._modules):
            self.uses.modules.add(name)
            words = self.uses.strings | {one.partition(":")[2] for one in self.uses.strings}
            for word in words:
                found = _resolve(self._modules, name, word)
                if isinstance(found, tuple):
                    self.uses.names.add(found)

    def _path(self, node: ast.expr) -> Node | str | None:
        """What ``a.b`` is: a definition, a module, or neither."""
        if isinstance(node, ast.Name):
            return self._look_up(node.id)
        if isinstance(node, ast.Attribute):
            inside = self._path(node.value)
            return _resolve(self._modules, inside, node.attr) if isinstance(inside, str) else None
        return None

    def _look_up(self, name: str) -> Node | str | None:
        if name in self._imports:
            return _follow(self._modules, *self._imports[name])
        if any(name in own for own in self._own):
            return None
        return _resolve(self._modules, self._module.name, name)


def _resolve(modules: Mapping[str, Module], module: str, name: str) -> Node | str | None:
    """A name of a module: its own definition, what it imports from another, or a module below it."""
    known = modules.get(module)
    if known is not None and name in known.definitions:
        return (module, name)
    if known is not None and name in known.imports:
        return _follow(modules, *known.imports[name])
    return f"{module}.{name}" if f"{module}.{name}" in modules else None


def _follow(modules: Mapping[str, Module], target: str, name: str | None) -> Node | str | None:
    if name is None:
        return target
    return _resolve(modules, target, name) if target in modules or f"{target}.{name}" in modules else None


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names that a function binds: arguments, assignments, inner functions; imports are looked up where they lead."""
    bound = {one.arg for one in _arguments(function.args)}
    for node in ast.walk(function):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.MatchAs(name=str(name)) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) if node is not function:
                bound.add(name)
            case ast.Global(names=names):
                bound -= set(names)
    return bound


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    extra = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]
