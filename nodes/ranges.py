"""The ranges of a node's inputs, held where the host doesn't: what is linked, what is not a number, and the inputs that
a node's own ``validate_inputs`` names, which ComfyUI then leaves to it.

What links bring as numpy's numbers, or 81.0 for a whole number, as some packs' nodes do, becomes Python's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

from comfy_api.latest import io

from .before_run import Wrong, mark, possible_values
from .errors import naming

Node = TypeVar("Node", bound=type[io.ComfyNode])


def within_ranges(node: Node) -> Node:
    """A node whose numbers are checked against its schema before anything else, and its choices where the host leaves
    them out; it is changed in place.

    Raises:
        ValueError: (``execute``) a number outside of its input's range, or none.
    """
    if hasattr(node, "FILES") and "validate_inputs" not in node.__dict__:
        node.validate_inputs = classmethod(_takes(node.FILES))
    for name, around in (("execute", _execute), ("validate_inputs", _validate)):
        own = node.__dict__.get(name)
        if own is None:
            continue
        whole = around(node, own.__func__)
        functools.update_wrapper(whole, own.__func__)
        whole.__signature__ = inspect.signature(own.__func__)  # type: ignore[attr-defined]  # the host reads its names
        del whole.__wrapped__
        setattr(node, name, classmethod(whole))
    return node


def _takes(names: Iterable[str]) -> Callable:
    """A ``validate_inputs`` that names these inputs, and nothing more."""

    def validate_inputs(cls: type, **_: Any) -> bool:
        return True

    kinds = inspect.Parameter
    parameters = [kinds("cls", kinds.POSITIONAL_OR_KEYWORD)]
    parameters += [kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=None) for name in names]
    validate_inputs.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return validate_inputs


def _execute(node: type[io.ComfyNode], own: Callable) -> Callable:
    signature = inspect.signature(own)
    schema_of = functools.cache(node.define_schema)  # ranges stay, whatever files its menus list

    def execute(cls: type, *args: Any, **given: Any) -> Any:
        schema = schema_of()
        given = _plain(schema.inputs, given)
        with naming(schema.node_id):
            wrong = _wrong(schema, _named(signature, cls, args, given))
            if wrong is not None:
                raise ValueError(wrong)
        return own(cls, *args, **given)

    return execute


def _validate(node: type[io.ComfyNode], own: Callable) -> Callable:
    signature = inspect.signature(own)

    def validate_inputs(cls: type, *args: Any, **given: Any) -> bool | Wrong:
        given = {name: _known(name) if value is None else value for name, value in given.items()}
        sources = getattr(cls, "FILES", {})
        wrong = _wrong(node.define_schema(), _named(signature, cls, args, given), choices=True, sources=sources)
        said = own(cls, *args, **given) if wrong is None else wrong
        if isinstance(said, Wrong):
            mark(said)
        return said

    return validate_inputs


def _known(name: str) -> Any:
    """The value that is linked to an input, where there is but one that it can be; None else."""
    values = possible_values(name)
    return values[0] if len(values) == 1 else None


def _plain(inputs: Sequence[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with the numbers among them as Python's own, where they are the same."""
    plain = dict(values)
    for each in inputs:
        value = values.get(each.id)
        if isinstance(each, io.DynamicCombo.Input) and isinstance(value, Mapping):
            plain[each.id] = _plain(_chosen(each, value), value)
        elif not isinstance(value, Real):
            continue
        elif isinstance(each, io.Int.Input) and not isinstance(value, int) and float(value).is_integer():
            plain[each.id] = int(value)
        elif isinstance(each, io.Float.Input) and not isinstance(value, (int, float)):
            plain[each.id] = float(value)
    return plain


def _chosen(menu: Any, values: Mapping[str, Any]) -> Sequence[Any]:
    """The inputs that appear with what is chosen."""
    return next((option.inputs for option in menu.options if option.key == values.get(menu.id)), ())


def _named(signature: inspect.Signature, cls: type, args: tuple, given: Mapping[str, Any]) -> dict[str, Any]:
    bound = signature.bind_partial(cls, *args)
    return {**bound.arguments, **given}


def _wrong(
    schema: io.Schema, values: Mapping[str, Any], choices: bool = False, sources: Mapping[str, str] = {}
) -> Wrong | None:
    """All values that are outside of their input's range; None if none is.

    Args:
        choices: whether those of menus count too.
        sources: what to say of an entry that a menu of files lacks.
    """
    wrong = dict(_wrong_in(schema.inputs, values, choices, sources))
    return Wrong(wrong) if wrong else None


def _wrong_in(
    inputs: Sequence[Any], values: Mapping[str, Any], choices: bool, sources: Mapping[str, str], path: str = ""
) -> Iterator[tuple[str, str]]:
    for each in inputs:
        value = values.get(each.id)
        if isinstance(each, (io.Int.Input, io.Float.Input)) and isinstance(value, (int, float)):
            low, high = each.min, each.max
            if not ((low is None or value >= low) and (high is None or value <= high)):  # a NaN is neither
                yield path + each.id, f"{each.id} is {value}; it must be {low} to {high}. Use a value in that range."
            elif isinstance(each, io.Int.Input) and isinstance(value, float):
                yield path + each.id, f"{each.id} is {value}; it must be a whole number. Round it."
        elif isinstance(each, io.DynamicCombo.Input) and isinstance(value, Mapping):
            yield from _wrong_in(_chosen(each, value), value, choices, sources, f"{path}{each.id}.")
        elif choices and isinstance(each, io.Combo.Input) and not each.upload and value not in (None, *each.options):
            known = ", ".join(map(str, each.options))
            remedy = f"choose one of {known}."
            if each.id in sources:
                remedy = f"there is no such file. {sources[each.id]} Then press R in the editor, or choose another."
            yield path + each.id, f"{each.id} is {value!r}; {remedy}"
