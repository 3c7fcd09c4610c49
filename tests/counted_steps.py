"""A copy of ``glv_core.prompts`` that counts its steps, so that tests bound work and not seconds.

Its source is rewritten before it is run: every loop counts its rounds, every function its calls, and everything that
makes, copies or reads through a string or a list counts as many steps as it has elements. Patterns are matched by
``Backtracker`` too, which does what a backtracking matcher does and counts what it looks at. What is counted is at
least what the interpreter does, but for constants.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import re._constants as op
    import re._parser as sre
else:
    import sre_constants as op
    import sre_parse as sre


class TooManySteps(Exception):
    """More steps than the budget has."""


class Counter:
    """Steps so far, and how many there may be."""

    def __init__(self) -> None:
        self.steps = 0
        self.budget = 0

    def add(self, steps: int) -> None:
        self.steps += steps
        if self.steps > self.budget:
            raise TooManySteps(f"{self.steps:,} steps")


COUNTER = Counter()


class Backtracker:
    """One pattern, matched as a backtracking matcher does it, with a step for every character that it looks at."""

    def __init__(self, pattern: str, flags: int) -> None:
        self.parsed = sre.parse(pattern, flags)
        self.flags = self.parsed.state.flags
        self.singles: dict[int, re.Pattern[str]] = {}

    def count(self, text: str, pos: int, end: int, mode: str) -> None:
        """Count one match, fullmatch or search from ``pos``."""
        groups: dict[int, str] = {}
        last = pos if mode != "search" else end
        for start in range(pos, last + 1):
            COUNTER.add(1)
            for at in self._items(list(self.parsed), 0, text, start, end, groups):
                if mode != "fullmatch" or at == end:
                    return

    def _items(self, items: list, index: int, text: str, at: int, end: int, groups: dict[int, str]) -> Iterator[int]:
        """The places at which items from an index on can end, in the order in which a matcher finds them."""
        if index == len(items):
            yield at
            return
        name, value = items[index]
        COUNTER.add(1)
        if name in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            if at < end and self._single(items[index], text[at]):
                yield from self._items(items, index + 1, text, at + 1, end, groups)
        elif name in (op.MAX_REPEAT, op.MIN_REPEAT):
            yield from self._repeat(items, index, text, at, end, groups)
        elif name is op.SUBPATTERN:
            group, _, _, inner = value
            for behind in self._items(list(inner), 0, text, at, end, groups):
                groups[group] = text[at:behind]
                yield from self._items(items, index + 1, text, behind, end, groups)
        elif name is op.BRANCH:
            for inner in value[1]:
                for behind in self._items(list(inner), 0, text, at, end, groups):
                    yield from self._items(items, index + 1, text, behind, end, groups)
        elif name in (op.ASSERT, op.ASSERT_NOT):
            direction, inner = value
            if direction > 0:
                found = any(True for _ in self._items(list(inner), 0, text, at, end, groups))
            else:
                width = inner.getwidth()[0]
                found = at >= width and any(
                    behind == at for behind in self._items(list(inner), 0, text, at - width, end, groups)
                )
            if found == (name is op.ASSERT):
                yield from self._items(items, index + 1, text, at, end, groups)
        elif name is op.AT:
            if self._anchor(value, text, at, end):
                yield from self._items(items, index + 1, text, at, end, groups)
        elif name is op.GROUPREF:
            word = groups.get(value, "")
            COUNTER.add(len(word))
            if text.startswith(word, at):
                yield from self._items(items, index + 1, text, at + len(word), end, groups)
        else:
            raise NotImplementedError(name)

    def _repeat(self, items: list, index: int, text: str, at: int, end: int, groups: dict[int, str]) -> Iterator[int]:
        name, (least, most, inner) = items[index]
        inner = list(inner)
        most = end - at if most is op.MAXREPEAT else min(most, end - at)
        if len(inner) == 1 and inner[0][0] in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            length = 0
            while length < most and self._single(inner[0], text[at + length]):
                length += 1
            COUNTER.add(length)
            lengths = range(length, least - 1, -1) if name is op.MAX_REPEAT else range(least, length + 1)
            for each in lengths:
                COUNTER.add(1)
                yield from self._items(items, index + 1, text, at + each, end, groups)
            return
        yield from self._rounds(items, index, inner, 0, text, at, end, groups)

    def _rounds(self, items, index, inner, done, text, at, end, groups) -> Iterator[int]:  # type: ignore[no-untyped-def]
        name, (least, most, _) = items[index]
        stop = done >= least
        if stop and name is op.MIN_REPEAT:
            yield from self._items(items, index + 1, text, at, end, groups)
        if most is op.MAXREPEAT or done < most:
            for behind in self._items(inner, 0, text, at, end, groups):
                if behind > at:
                    yield from self._rounds(items, index, inner, done + 1, text, behind, end, groups)
        if stop and name is op.MAX_REPEAT:
            yield from self._items(items, index + 1, text, at, end, groups)

    def _single(self, item: tuple, char: str) -> bool:
        """Whether an item of one character is this one; asked of ``re``, which knows classes and cases."""
        known = self.singles.get(id(item))
        if known is None:
            known = self.singles[id(item)] = re.compile(_written(item), self.flags & ~re.VERBOSE)
        return known.match(char) is not None

    def _anchor(self, value: Any, text: str, at: int, end: int) -> bool:
        if value in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            return at == 0
        if value is op.AT_END_STRING:
            return at == end
        words = [0 <= place < end and (text[place].isalnum() or text[place] == "_") for place in (at - 1, at)]
        if value is op.AT_BOUNDARY:
            return words[0] != words[1]
        raise NotImplementedError(value)


def _written(item: tuple) -> str:
    """An item of one character as a pattern again."""
    name, value = item
    if name is op.ANY:
        return "."
    if name in (op.LITERAL, op.NOT_LITERAL):
        return f"[{'^' if name is op.NOT_LITERAL else ''}{_char(value)}]"
    parts = []
    for kind, part in value:
        if kind is op.NEGATE:
            parts.append("^")
        elif kind is op.LITERAL:
            parts.append(_char(part))
        elif kind is op.RANGE:
            parts.append(f"{_char(part[0])}-{_char(part[1])}")
        elif kind is op.CATEGORY:
            classes = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w", "NOT_DIGIT": r"\D", "NOT_SPACE": r"\S"}
            parts.append({**classes, "NOT_WORD": r"\W"}[str(part).removeprefix("CATEGORY_")])
        else:
            raise NotImplementedError(kind)
    return f"[{''.join(parts)}]"


def _char(code: int) -> str:
    return f"\\U{code:08x}"


class CountedPattern:
    """A pattern that does what ``re``'s does, and counts."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.real = re.compile(pattern, flags)
        self.tracker = Backtracker(pattern, flags)

    def _one(self, mode: str, text: str, pos: int = 0, end: int | None = None) -> re.Match[str] | None:
        end = len(text) if end is None else min(end, len(text))
        self.tracker.count(text, min(pos, end), end, mode)
        return getattr(self.real, mode)(text, pos, end)

    def match(self, text: str, *place: int) -> re.Match[str] | None:
        return self._one("match", text, *place)

    def fullmatch(self, text: str, *place: int) -> re.Match[str] | None:
        return self._one("fullmatch", text, *place)

    def search(self, text: str, *place: int) -> re.Match[str] | None:
        return self._one("search", text, *place)

    def finditer(self, text: str, pos: int = 0, end: int | None = None) -> Iterator[re.Match[str]]:
        end = len(text) if end is None else min(end, len(text))
        while pos <= end and (found := self._one("search", text, pos, end)):
            yield found
            pos = max(found.end(), pos + (found.end() == found.start()))

    def split(self, text: str) -> list[str]:
        for _ in self.finditer(text):
            pass
        return self.real.split(text)

    def sub(self, new: Any, text: str) -> str:
        for _ in self.finditer(text):
            pass
        return self.real.sub(new, text)


class CountedRe:
    """What stands for ``re`` in the counted modules."""

    IGNORECASE, DOTALL, Match, Pattern = re.IGNORECASE, re.DOTALL, re.Match, re.Pattern

    @staticmethod
    def compile(pattern: str, flags: int = 0) -> CountedPattern:
        return CountedPattern(pattern, flags)

    @staticmethod
    def match(pattern: str, text: str) -> re.Match[str] | None:
        return CountedPattern(pattern).match(text)

    @staticmethod
    def search(pattern: str, text: str) -> re.Match[str] | None:
        return CountedPattern(pattern).search(text)


def counted_rounds(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        COUNTER.add(1)
        yield value


def counted_value(value: Any) -> Any:
    """A value that was made here: as many steps as it has elements."""
    COUNTER.add(1 + (len(value) if isinstance(value, (str, list, tuple, dict)) else 0))
    return value


#: Methods of strings that look at one place only, or as far as what they find.
AT_ONE_PLACE = {"startswith", "endswith", "isdigit", "isalpha", "isalnum", "isprintable", "isspace"}


def counted_call(owner: Any, name: str, *arguments: Any, **named: Any) -> Any:
    """A method of a string or a list, with a step for each element that it goes through."""
    made = getattr(owner, name)(*arguments, **named)
    if isinstance(owner, str):
        if name in ("find", "index"):
            begin = arguments[1] if len(arguments) > 1 else 0
            COUNTER.add((made if made >= 0 else len(owner)) - begin + 1)
        elif name == "rfind":
            COUNTER.add((arguments[2] if len(arguments) > 2 else len(owner)) - made + 1)
        elif name not in AT_ONE_PLACE:
            COUNTER.add(len(owner) + 1)
    elif isinstance(owner, list) and name in ("sort", "index", "count", "insert", "copy", "remove"):
        COUNTER.add(len(owner))
    if isinstance(made, (str, list, tuple)):
        COUNTER.add(len(made))
    return made


class Rewrite(ast.NodeTransformer):
    """Puts the counters into a module."""

    def _call(self, name: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])

    def visit_For(self, node: ast.For) -> ast.For:
        self.generic_visit(node)
        node.iter = self._call("counted_rounds", node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        self.generic_visit(node)
        node.iter = self._call("counted_rounds", node.iter)
        return node

    def visit_While(self, node: ast.While) -> ast.While:
        self.generic_visit(node)
        node.body.insert(0, ast.Expr(self._call("counted_value", ast.Constant(None))))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        body = node.body
        self.generic_visit(node)
        first = 1 if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else 0
        node.body.insert(first, ast.Expr(self._call("counted_value", ast.Constant(None))))
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        cut = isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load)
        return self._call("counted_value", node) if cut else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return self._call("counted_value", node) if isinstance(node.op, (ast.Add, ast.Mult)) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        self.generic_visit(node)
        return self._call("counted_value", node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.FormattedValue:
        node.value = self.visit(node.value)  # not the format behind it, which must stay what it is
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            value: ast.expr = ast.Name(node.target.id, ast.Load())
        else:
            value = ast.parse(ast.unparse(node.target), mode="eval").body
        added = node.value
        # What is appended counts for a list, the whole that is made for a string.
        return [node, ast.Expr(self._call("counted_sum", value, added))]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and not (
            isinstance(function.value, ast.Call)
            and isinstance(function.value.func, ast.Name)
            and function.value.func.id == "super"
        ):
            return ast.Call(
                ast.Name("counted_call", ast.Load()),
                [function.value, ast.Constant(function.attr), *node.args],
                node.keywords,
            )
        return self._call("counted_value", node)


def counted_sum(whole: Any, added: Any) -> None:
    if isinstance(whole, str):
        COUNTER.add(len(whole))
    elif isinstance(added, (list, tuple)):
        COUNTER.add(len(added))


class Loader(importlib.abc.Loader):
    """Makes a module of a rewritten file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        tree = ast.parse(self.path.read_text(encoding="utf-8"))
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.Import) and [a.name for a in node.names] == ["re"])
        ]
        COUNTER.budget = sys.maxsize
        module.__dict__.update(
            re=CountedRe,
            counted_rounds=counted_rounds,
            counted_value=counted_value,
            counted_call=counted_call,
            counted_sum=counted_sum,
        )
        exec(compile(ast.fix_missing_locations(Rewrite().visit(tree)), str(self.path), "exec"), module.__dict__)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the counted copy."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name and not fullname.startswith(self.name + "."):
            return None
        inner = fullname.removeprefix(self.name).strip(".")
        file = self.folder / (f"{inner}.py" if inner else "__init__.py")
        if not file.is_file():
            return None
        return importlib.util.spec_from_loader(fullname, Loader(file), is_package=not inner)


def counted_package(folder: Path, name: str = "glv_core.counted_prompts") -> Any:
    """The package in a folder as one that counts, imported under another name."""
    sys.meta_path.insert(0, Finder(name, folder))
    return importlib.import_module(name)


def steps_of(function: Any, budget: int) -> int:
    """Steps of a call into a counted package, whether it ends well or with a ValueError.

    Raises:
        TooManySteps: they are more than ``budget``.
    """
    COUNTER.steps, COUNTER.budget = 0, budget
    try:
        function()
    except ValueError:
        pass
    finally:
        COUNTER.budget = sys.maxsize
    return COUNTER.steps
