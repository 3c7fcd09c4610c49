"""Errors of the command line: one line, with the option, its value and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the user can put right: one line, with the option, its value and the remedy."""


@contextmanager
def option(name: str, value: object) -> Iterator[None]:
    """Turns an error in the block into one that names the option and its value."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        shown = " ".join(str(value).split())
        raise UserError(f"{name} {shown if len(shown) <= 60 else shown[:59] + '…'}: {error}") from error


def at_least(name: str, value: int, least: int) -> int:
    """The value of an option.

    Raises:
        UserError: it is below ``least``.
    """
    if value < least:
        raise UserError(f"{name} {value}: use a whole number of at least {least}.")
    return value
