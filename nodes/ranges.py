"""The ranges of a node's inputs, held where the host doesn't: what is linked, what is not a number, and the inputs that
a node's own ``validate_inputs`` names, which ComfyUI then leaves to it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from comfy_api.latest import io

from .errors import naming

Node = TypeVar("Node", bound=type[io.ComfyNode])


def within_ranges(node: Node) -> Node:
    """A node whose numbers are checked against its schema before anything else, and its choices where the host leaves
    them out; it is changed in place.

    Raises:
        ValueError: (``execute``) a number outside of its input's range, or none.
    """
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


def _execute(node: type[io.ComfyNode], own: Callable) -> Callable:
    signature = inspect.signature(own)
    schema_of = functools.cache(node.define_schema)  # ranges stay, whatever files its menus list

    def execute(cls: type, *args: Any, **given: Any) -> Any:
        schema = schema_of()
        with naming(schema.node_id):
            wrong = _wrong(schema, _named(signature, cls, args, given))
            if wrong is not None:
                raise ValueError(wrong)
        return own(cls, *args, **given)

    return execute


def _validate(node: type[io.ComfyNode], own: Callable) -> Callable:
    signature = inspect.signature(own)

    def validate_inputs(cls: type, *args: Any, **given: Any) -> bool | str:
        wrong = _wrong(node.define_schema(), _named(signature, cls, args, given), choices=True)
        return own(cls, *args, **given) if wrong is None else wrong

    return validate_inputs


def _named(signature: inspect.Signature, cls: type, args: tuple, given: Mapping[str, Any]) -> dict[str, Any]:
    bound = signature.bind_partial(cls, *args)
    return {**bound.arguments, **given}


def _wrong(schema: io.Schema, values: Mapping[str, Any], choices: bool = False) -> str | None:
    """What is wrong with the first value that is outside of its input's range; None if nothing is."""
    return _wrong_in(schema.inputs, values, choices)


def _wrong_in(inputs: Sequence[Any], values: Mapping[str, Any], choices: bool) -> str | None:
    for each in inputs:
        value = values.get(each.id)
        if isinstance(each, (io.Int.Input, io.Float.Input)) and isinstance(value, (int, float)):
            low, high = each.min, each.max
            if not ((low is None or value >= low) and (high is None or value <= high)):  # a NaN is neither
                return f"{each.id} is {value}; it must be {low} to {high}. Use a value in that range."
        elif isinstance(each, io.DynamicCombo.Input) and isinstance(value, Mapping):
            chosen = next((option.inputs for option in each.options if option.key == value.get(each.id)), ())
            wrong = _wrong_in(chosen, value, choices)
            if wrong is not None:
                return wrong
        elif choices and isinstance(each, io.Combo.Input) and not each.upload and value not in (None, *each.options):
            return f"{each.id} is {value!r}; choose one of {', '.join(map(str, each.options))}."
    return None
