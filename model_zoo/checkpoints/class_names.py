"""A visitor's names for the classes of their network: text, CSV or JSON, whatever their training left behind."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from model_zoo.errors import UploadError
from model_zoo.labels import unique

MOST_BYTES = 10**6
MOST_NAMES = 30_000
LONGEST_NAME = 200  # letters; the rest is cut off
LONGEST_NUMBER = 9  # digits
HEADINGS = ("class", "label", "name", "category", "index", "idx", "id", "number")  # also parts of longer ones: `class_id`
LISTS = ("id2label", "label2id", "label_names", "class_to_idx", "classes", "labels", "names")  # what configurations call them
EXPECTED = 'Expected one name per line, a CSV file with a number and a name per row, or JSON such as ["cat", "dog"].'
_NUMBER = re.compile(rf"\d{{1,{LONGEST_NUMBER}}}(\.0)?")
_NUMBERED_LINE = re.compile(rf"\s*(\d{{1,{LONGEST_NUMBER}}})[\s,;:]+(\S.*)")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def read_class_names(path: Path, name: str, classes: int) -> tuple[str, ...]:
    """The names of a network's `classes` classes, in the order of their numbers, from the file at `path`.

    `name`, the file as the visitor calls it, tells the format: `.json`, `.csv` or `.tsv`; anything else has one name
    per line. Names are cut at 200 letters, and a name that two classes share gets the number of its class. Raises
    UploadError when the file is no such list, or has another number of names.
    """
    text = _text(path)
    ending = name.lower().rpartition(".")[2]
    if ending == "json":
        found = _from_json(text)
    elif ending in ("csv", "tsv"):
        found = _from_table(text, classes)
    else:
        found = _from_lines(text)
    if len(found) > MOST_NAMES:
        raise UploadError(f"The list has {len(found):,} names; at most {MOST_NAMES:,} are read.")
    if len(found) != classes:
        raise UploadError(f"The list has {_counted(len(found), 'name')}, the network {_counted(classes, 'class', 'classes')}.")
    clean = [_UNSEEN.sub(" ", text).strip()[:LONGEST_NAME] for text in found]
    return unique([text or f"class {number}" for number, text in enumerate(clean)])


def _text(path: Path) -> str:
    """What stands in the file: UTF-8, or else Windows' alphabet for Western Europe."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UploadError(f"The list is larger than {MOST_BYTES // 10**6} MB, which no list of names needs. {EXPECTED}")
    if not content.strip():
        raise UploadError(f"The list is empty. {EXPECTED}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    controls = sum(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text)
    if controls > len(text) / 50 or "\x00" in text or "\ufffd" in text:
        raise UploadError(f"The list is not text in UTF-8. {EXPECTED}")
    if re.match(r"\s*<(!doctype|html|head|body|\?xml)", text, re.IGNORECASE):
        raise UploadError(f"The list is a web page, not a list of names. {EXPECTED}")
    return text


def _from_lines(text: str) -> list[str]:
    """One name per line; numbers before the names are taken off when they count from 0 or 1."""
    lines = [line for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    if all(numbered) and [int(line[1]) for line in numbered] in (list(range(len(lines))), list(range(1, len(lines) + 1))):
        return [line[2] for line in numbered]
    return lines


def _from_json(text: str) -> list[str]:
    """A list of names, names by number or numbers by name, perhaps as one entry of a configuration."""
    try:
        value = json.loads(text, parse_int=_short_number)
    except (ValueError, RecursionError) as error:
        raise UploadError(f"The list is not valid JSON. {EXPECTED}") from error
    if isinstance(value, dict):
        value = next((value[key] for key in LISTS if isinstance(value.get(key), (dict, list))), value)
    if isinstance(value, list) and all(map(_is_name, value)):
        return [str(name) for name in value]
    if isinstance(value, dict) and value:
        if all(isinstance(number, int) for number in value.values()) and sorted(value.values()) == list(range(len(value))):
            return sorted(value, key=value.__getitem__)
        # {"0": ["n01440764", "tench"]} is how ImageNet's names are often passed on
        names = [name[-1] if isinstance(name, list) and name else name for name in value.values()]
        if all(map(_is_number, value)) and all(map(_is_name, names)):
            return _in_order(zip(map(_number, value), map(str, names)))
    raise UploadError(f"The list is JSON of another kind. {EXPECTED}")


def _from_table(text: str, classes: int) -> list[str]:
    """The names of a table with or without headings, in the order of its numbers, if it has any."""
    lines = [line for line in text.splitlines() if line.strip()]
    divider = max(",;\t", key=lambda letter: sum(letter in line for line in lines))
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=divider) if any(map(str.strip, row))]
    except csv.Error as error:
        raise UploadError(f"The list is not valid CSV. {EXPECTED}") from error
    if not rows:
        raise UploadError(f"The list is empty. {EXPECTED}")
    if len({len(row) for row in rows}) > 1:  # divided by what also stands within names
        numbered = all(_is_number(row[0]) for row in rows)
        return _in_order((_number(first), f"{divider} ".join(rest)) for first, *rest in rows) if numbered else lines
    headings = [cell.lower() for cell in rows[0]] if _headed(rows, classes) else [""] * len(rows[0])
    columns = list(zip(*(rows[1:] if any(headings) else rows)))
    numbers = [column for column in columns if all(map(_is_number, column))]
    names = sorted((("name" not in heading, place) for place, heading in enumerate(headings) if columns[place] not in numbers))
    if not names:  # classes that are called by numbers, such as years
        return list(columns[0]) if len(columns) == 1 else _in_order(zip(map(_number, columns[0]), columns[1]))
    column = columns[names[0][1]]
    return _in_order(zip(map(_number, numbers[0]), column)) if numbers else list(column)


def _headed(rows: Sequence[Sequence[str]], classes: int) -> bool:
    """Whether the first row of a table says what its columns are."""
    if len(rows) < 2 or len(rows) == classes:
        return False
    known = all(any(word in cell.lower() for word in HEADINGS) for cell in rows[0])
    return known or any(not _is_number(first) and all(map(_is_number, rest)) for first, *rest in zip(*rows))


def _in_order(pairs: Iterable[tuple[int, str]]) -> list[str]:
    """Names by their numbers, which must count from 0 or from 1 without a gap."""
    ordered = sorted(pairs)
    first = min(1, ordered[0][0])
    for expected, (number, _) in enumerate(ordered, first):
        if number != expected:
            raise UploadError(f"The class numbers in the list do not count up from {first}: {number} stands where {expected} belongs.")
    return [name for _, name in ordered]


def _is_name(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def _number(text: str) -> int:
    return int(text.strip().partition(".")[0])


def _short_number(text: str) -> int:
    """A number of JSON; long ones are refused before they cost time."""
    if len(text) > LONGEST_NUMBER:
        raise ValueError("a number with too many digits")
    return int(text)


def _counted(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"
