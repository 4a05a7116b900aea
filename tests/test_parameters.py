"""Settings that choose from a list known only once every technique is there: one name, or several."""

from __future__ import annotations

import inspect
from typing import Annotated

import pytest

from techniques.__main__ import technique_parser
from techniques.base import Help, OneOf, Param, ParameterError, Several, Technique
from techniques.base.parameters import TOLD, read_parameter
from ui.api import _parameter
from ui.controls import control

KNOWN = {"first": "The first", "second": "The second", "third": "The third"}
PLAIN_HELP = Help("Which.")


def read(annotation, default) -> Param:
    """The Param of a keyword-only argument with this annotation and default."""
    argument = inspect.Parameter("which", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    return read_parameter(argument, annotation, "technique “x”")


@pytest.fixture
def several() -> Param:
    return read(Annotated[tuple[str, ...], Several(lambda: KNOWN), PLAIN_HELP], ("first", "third"))


@pytest.fixture
def one() -> Param:
    return read(Annotated[str, OneOf(lambda: KNOWN), PLAIN_HELP], "second")


def test_the_names_are_asked_for_when_they_are_needed_and_not_before():
    known: dict[str, str] = {}
    param = read(Annotated[tuple[str, ...], Several(lambda: known), PLAIN_HELP], ("late",))
    with pytest.raises(ParameterError):
        param.check(("late",), None)
    known["late"] = "Late"
    assert param.check(("late",), None) == ("late",) and param.choices == ("late",)


def test_several_names_come_as_a_list_or_a_tuple_and_each_counts_once(several):
    assert (several.kind, several.default) == ("choices", ("first", "third"))
    assert several.check(["third", "first", "third"], None) == ("third", "first")


@pytest.mark.parametrize("value", [(), [], ("first", "no such"), "first", (1,), None, {"first"}])
def test_no_name_an_unknown_one_and_what_is_no_list_are_refused_with_what_is_expected(several, value):
    with pytest.raises(ParameterError, match="expected some of first, second, third"):
        several.check(value, None)


def test_one_name_is_a_choice(one):
    assert (one.kind, one.choices, one.check("third", None)) == ("choice", tuple(KNOWN), "third")
    with pytest.raises(ParameterError, match="expected one of first, second, third"):
        one.check("fourth", None)


def test_of_a_long_list_a_sentence_names_the_first_and_says_how_many_more():
    many = {f"name_{number}": "" for number in range(40)}
    assert read(Annotated[str, OneOf(lambda: many), PLAIN_HELP], "name_0").expected.endswith(f"name_{TOLD - 1} and {40 - TOLD} more")


@pytest.mark.parametrize(
    ("annotation", "default", "sentence"),
    [
        (Annotated[str, Several(lambda: KNOWN), PLAIN_HELP], "first", "OneOf marks a str, Several a tuple"),
        (Annotated[tuple[str, ...], OneOf(lambda: KNOWN), PLAIN_HELP], ("first",), "OneOf marks a str, Several a tuple"),
        (Annotated[tuple[str, ...], Several(lambda: KNOWN), PLAIN_HELP], (), "is not allowed. Expected texts"),
        (Annotated[tuple[str, ...], Several(lambda: KNOWN), PLAIN_HELP], ["first"], "is not allowed. Expected texts"),
        (Annotated[str, OneOf(lambda: KNOWN), PLAIN_HELP], 3, "is not allowed. Expected a text"),
        (Annotated[str, OneOf(lambda: KNOWN)], "first", "it has no Help sentence"),
    ],
)
def test_a_contributors_mistake_is_found_at_import(annotation, default, sentence):
    with pytest.raises(TypeError, match=f"technique “x”, parameter “which”: .*{sentence}"):
        read(annotation, default)


def test_the_page_shows_titles_and_gives_names(several, one):
    shown = control(several, "x")
    assert shown.multiselect and shown.value == ["first", "third"]
    assert [tuple(choice) for choice in shown.choices] == [("The first", "first"), ("The second", "second"), ("The third", "third")]
    assert control(one, "x").value == "second"


def test_the_api_takes_a_list_of_the_names(several):
    schema = _parameter(several).api_info()
    assert schema["type"] == "array" and schema["items"] == {"type": "string", "enum": list(KNOWN)}


def test_the_command_line_takes_names_between_commas(several, one):
    technique = Technique("x", "X", "Compare", "Means.", "Not.", "", lambda: None, (several,), {}, False, lambda model: None, 1)
    assert technique_parser(technique).parse_args(["cat.jpg", "--which", "first, second"]).which == ["first", "second"]
    said = " ".join(technique_parser(technique).format_help().split())
    assert "--which NAME,NAME" in said and "Some of first, second, third. [first,third]" in said
