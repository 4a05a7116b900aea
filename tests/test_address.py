"""The address line: what is written there is read again as the same view, and whatever else stands in it does no harm."""

from __future__ import annotations

from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from PIL import Image

import techniques
from techniques.base import Sample
from techniques.base.pictures import ReadPicture
from ui.address import View, picture_hash, picture_name, read, write
from ui.choosing import read_sample
from ui.samples import digits, photographs, sample
from ui.session import Answered, Session

TECHNIQUES = techniques.catalogue()
NOISE = ReadPicture(Image.fromarray(np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)), "mine.png")


def session(technique: str = "pgd", picture=NOISE, model: str = "bundled/digits", run_on: str | None = None, **settings) -> Session:
    """A visitor who has just run a technique with these settings."""
    visitor = Session("id", "connection", model, model, picture=picture)
    given = {param.name: param.default for param in TECHNIQUES[technique].params} | settings
    visitor.answers[technique] = Answered(None, None, run_on or model, "Title", given)
    return visitor


def parts(visitor: Session, technique: str = "pgd") -> dict[str, str]:
    return dict(parse_qsl(write(visitor, TECHNIQUES[technique]), strict_parsing=True))


def view(query: str) -> View:
    return read(parse_qsl(query, keep_blank_values=True), TECHNIQUES)


def test_an_address_holds_what_differs_from_the_defaults_and_nothing_else():
    visitor = session(picture=read_sample(sample("digit_3")), target="8", epsilon=20.0, seed=0, random_start=True)
    assert write(visitor, TECHNIQUES["pgd"]) == "technique=pgd&model=bundled/digits&picture=digit_3&target=8&pgd.epsilon=20"


@pytest.mark.parametrize("name", TECHNIQUES)
def test_what_is_written_is_read_again_for_every_technique(name):
    technique = TECHNIQUES[name]
    settings = {}
    for param in technique.own_params:
        if param.range:
            settings[param.name] = param.range.low if param.default != param.range.low else param.range.high
        elif param.choices:
            several = param.kind == "choices"
            settings[param.name] = param.choices[1::-1] if several else next(choice for choice in param.choices if choice != param.default)
        elif param.kind == "flag":
            settings[param.name] = not param.default
    shared = {param.name: value for param, value in ((technique.param("target"), "golf ball"), (technique.param("seed"), 7)) if param}
    visitor = session(name, read_sample(sample("church")), "bundled/imagenette", **settings, **shared)
    visitor.pictures = [read_sample(sample("church")), read_sample(sample("cat"))]
    visitor.framing = "pad"
    found = view(write(visitor, technique))
    assert found.faults == ()
    assert (found.technique, found.model, found.framing) == (name, "bundled/imagenette", "pad")
    assert found.pictures == (("church", "cat") if technique.many else ("church",))
    assert found.settings == {(name, setting): value for setting, value in settings.items()}
    assert found.target == shared.get("target", "") and found.seed == shared.get("seed")


def test_a_picture_of_ones_own_is_named_by_its_hash_also_when_it_has_the_name_of_a_sample():
    disguised = ReadPicture(NOISE.image, "Golf ball")
    assert picture_name(disguised) == picture_hash(NOISE) == parts(session(picture=disguised))["picture"]
    assert view(write(session(), TECHNIQUES["pgd"])).missing == [picture_hash(NOISE)]


@pytest.mark.parametrize("entry", [*photographs(), *digits()], ids=lambda entry: entry.name)
def test_every_sample_is_named(entry):
    assert picture_name(read_sample(entry)) == entry.name


def test_the_8_bit_file_of_exact_pixels_has_their_hash():
    exact = Sample.from_pixels(torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)), "PGD, of cat.jpg")
    assert picture_hash(exact) == picture_hash(ReadPicture(exact.image, "downloaded.png"))


def test_the_token_of_an_uploaded_model_stays_out_of_the_address():
    token = "abcdefghijklmnopqrstuv"
    text = write(session(model=f"upload/{token}/1"), TECHNIQUES["pgd"])
    assert token not in text and view(text).model == "own"


def test_class_and_layer_of_another_model_are_left_out():
    text = write(session("grad_cam", target="church", layer="layer3", run_on="bundled/imagenette"), TECHNIQUES["grad_cam"])
    assert "church" not in text and "layer3" not in text


def test_a_class_with_odd_letters_survives():
    assert view(write(session(target="a&b=c #1 é +/<x>"), TECHNIQUES["pgd"])).target == "a&b=c #1 é +/<x>"


def test_painted_areas_are_said_to_be_missing():
    text = write(session("cover", mask=(np.ones((4, 4), dtype=bool),)), TECHNIQUES["cover"])
    assert "cover.mask=painted" in text
    assert "painted areas do not fit into an address" in view(text).faults[0]


def test_a_set_too_large_for_an_address_is_said_to_be_missing():
    visitor = session("average_activation")
    visitor.pictures = [NOISE] * 17
    found = view(write(visitor, TECHNIQUES["average_activation"]))
    assert found.pictures == () and "does not fit into an address" in found.faults[0]


@pytest.mark.parametrize("query,named", [
    ("technique=evil", "evil"),
    ("technique=", "There is no technique “”"),
    ("technique=gradcam", "There is no technique “gradcam”. Did you mean grad_cam"),
    ("technique=__import__", "__import__"),
    ("picture=../../etc/passwd", "../../etc/passwd"),
    ("picture=0123456789ABCDEF", "0123456789ABCDEF"),
    ("picture=digit_3,nothing", "nothing"),
    ("model=upload/abcdefghijklmnopqrstuv/1", "somebody's own"),
    ("model=uploaded", "somebody's own"),
    ("seed=-1", "-1"),
    ("seed=2147483648", "2147483648"),
    ("seed=1e3", "1e3"),
    ("seed=٣", "٣"),
    ("framing=stretch", "stretch"),
    ("pgd.epsilon=900", "900"),
    ("pgd.epsilon=nan", "nan"),
    ("pgd.epsilon=inf", "inf"),
    ("pgd.epsilon=", "Epsilon"),
    ("pgd.steps=2.5", "2.5"),
    ("pgd.norm=l7", "l7"),
    ("pgd.random_start=maybe", "maybe"),
    ("pgd.no_such=1", "pgd.no_such"),
    ("pgd.target=8", "pgd.target"),
    ("pgd.__class__=1", "pgd.__class__"),
    ("nothing.epsilon=1", "nothing.epsilon"),
    ("a.b.c=1", "a.b.c"),
    ("colour=red", "colour"),
    ("target=" + "x" * 1001, "longer than 1000"),
    ("cover.mask=painted", "Paint them again"),
])  # fmt: skip
def test_what_does_not_fit_is_left_out_and_named_in_one_sentence(query, named):
    found = view(query)
    assert len(found.faults) == 1 and named in found.faults[0] and "\n" not in found.faults[0]
    assert found == View(faults=found.faults)


@pytest.mark.parametrize("query", ["__theme=dark", "utm_source=mail", "fbclid=1", "__sign=abc", ""])
def test_what_others_hang_on_to_an_address_is_no_fault(query):
    assert view(query) == View()


def test_one_wrong_part_leaves_the_others():
    found = view("technique=pgd&model=bundled/digits&picture=digit_3&pgd.epsilon=900&pgd.steps=7&seed=5")
    assert (found.technique, found.pictures, found.seed) == ("pgd", ("digit_3",), 5)
    assert found.settings == {("pgd", "steps"): 7} and len(found.faults) == 1


def test_of_a_flood_of_parts_only_the_first_are_read():
    assert len(view("&".join(f"colour{number}=1" for number in range(5000))).faults) == 100
