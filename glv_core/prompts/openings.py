"""Whether a text opens like keys and quoted prompts, so that ``dialects`` reads it."""

from __future__ import annotations

import re

from .source import Source

CURLY = "\u201c\u201d\u201e\u2018\u2019"  # the quotes that word processors make

#: What a text between quotation marks looks like that is a time; wider than what is right.
TIME_KEY = re.compile(r"-?[.0-9][-.0-9:%s]*")
KEY_UNIT = re.compile(r"\s+[s%]")
QUOTE = re.compile(rf"[\"'{CURLY}]")
WORDS = re.compile(rf"[^\"'{CURLY}\n]*")
SPACES = re.compile(r"\s*")
NEARLY = re.compile(r"\s*[\"'{]{0,3}\s{0,3}-?[.0-9]{1,20}\s{0,3}[\"']{0,3}\s{0,3}[:=]")  # a first key with a slip in it
STOP = {quote: re.compile(rf"[\\{quote}]") for quote in "\"'"}


def closing_quote(text: str, offset: int) -> int | None:
    """The offset of the mark that closes the quotation at ``offset``, or None; an apostrophe inside a word does not."""
    quote = text[offset]
    found = STOP[quote].search(text, offset + 1)
    while found:
        place = found.start()
        if found.group() == "\\":
            found = STOP[quote].search(text, min(place + 2, len(text)))
        elif quote == "'" and text[place - 1].isalnum() and text[place + 1 : place + 2].isalnum():
            found = STOP[quote].search(text, place + 1)
        else:
            return place
    return None


def keyed_at(source: Source, lines: list[tuple[int, str]]) -> int | None:
    """The offset where a text opens like keys and quoted prompts: its beginning, or the first line that does so
    without doubt, what stands before it being common to all prompts. None where there is none.
    """
    first = lines[0][0]
    if Opening(source.text).at(first):
        return first
    for offset, line in lines[1:]:
        begin = offset + len(line) - len(line.lstrip())
        if source.text[begin] in "{\"'" and Opening(source.text).sure_at(begin):
            return first if NEARLY.match(source.text, first) else offset
    return None


class Opening:
    """Whether a text opens like keys and quoted prompts.

    Narrow enough that a prompt which merely begins with a quoted phrase, a brace or a number is not taken for one; wide
    enough that a slip becomes an error and not a prompt.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def at(self, pos: int) -> bool:
        """Whether it does so at an offset."""
        text, pos = self.text, self.skip(pos)
        if text.startswith("{", pos):
            inner = self.skip(pos + 1)
            return (
                (text.startswith("}", inner) and self.skip(inner + 1) == len(text))
                or self.key(self.quote(inner) or inner, quoted=None) is not None
                or self.words(inner) is not None
            )
        opening = self.quote(pos)
        if opening is None:
            return self.bare(pos)
        prompt = self.words(pos)
        return (
            self.key(opening, quoted=True) is not None
            or (prompt is not None and self.quote(self.skip(prompt)) is not None)
            or (self.time(opening) is not None and self.pair_behind(opening))
        )

    def sure_at(self, pos: int) -> bool:
        """Whether a right key, a separator and a quotation mark stand at an offset, perhaps behind a brace."""
        inner = self.skip(pos + 1) if self.text.startswith("{", pos) else pos
        opening = self.quote(inner)
        behind = None if opening is None else self.key(opening, quoted=True)
        return behind is not None and self.quote(self.skip(behind)) is not None

    def skip(self, pos: int) -> int:
        return SPACES.match(self.text, pos).end()  # type: ignore[union-attr]

    def quote(self, pos: int) -> int | None:
        """The offset behind a quotation mark."""
        return pos + 1 if QUOTE.match(self.text, pos) else None

    def separator(self, pos: int) -> int | None:
        """The offset behind a colon or an equals sign, perhaps behind spaces."""
        pos = self.skip(pos)
        return pos + 1 if self.text[pos : pos + 1] in (":", "=") else None

    def time(self, pos: int) -> int | None:
        """The offset behind what looks like a time, colons at its end included."""
        found = TIME_KEY.match(self.text, self.skip(pos))
        if found is None:
            return None
        unit = KEY_UNIT.match(self.text, found.end())
        return unit.end() if unit else found.end()

    def key(self, pos: int, quoted: bool | None) -> int | None:
        """The offset behind a time, its quotation mark (None: or a separator) and, behind that, a separator."""
        end = self.time(pos)
        if end is None:
            return None
        closing = self.quote(self.skip(end))
        if quoted is None:
            return closing or self.separator(end) or (end if ":" in self.text[pos:end] else None)
        return None if closing is None else self.separator(closing)

    def words(self, pos: int) -> int | None:
        """The offset behind words in quotation marks on one line and a separator."""
        opening = self.quote(pos)
        if opening is None:
            return None
        closing = self.quote(WORDS.match(self.text, opening).end())  # type: ignore[union-attr]
        return None if closing is None else self.separator(closing)

    def pair_behind(self, pos: int) -> bool:
        """Whether a key and a prompt, both in quotation marks, stand anywhere behind an offset."""
        for found in QUOTE.finditer(self.text, pos):
            behind = self.key(found.end(), quoted=True)
            if behind is not None and self.quote(self.skip(behind)) is not None:
                return True
        return False

    def bare(self, pos: int) -> bool:
        """Whether it opens with a key without quotation marks: ``0 = ``, or ``0: "a",`` and another key or the end."""
        end = self.time(pos)
        if end is None:
            return False
        sign = self.skip(end)
        if self.text.startswith("=", sign):
            return not self.text.startswith("==", sign) and not self.text.startswith("=>", sign)
        if not self.text.startswith(":", sign) and self.text[end - 1] != ":":
            return False
        opening = self.skip(sign + 1 if self.text.startswith(":", sign) else end)
        quote = self.text[opening : opening + 1]
        if quote not in ("'", '"'):
            return False
        closing = closing_quote(self.text, opening)
        if closing is None:
            return False
        comma = self.skip(closing + 1)
        if not self.text.startswith(",", comma):
            return False
        following = self.skip(comma + 1)
        if following == len(self.text):
            return True
        return self.key(self.quote(following) or following, quoted=None) is not None
