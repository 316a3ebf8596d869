"""What is wrong with a request is said in our words, in every interface, and the API's page needs no other host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from animate_pipelines.errors import InvalidField
from animate_server.dialects import load_dialects
from animate_server.errors import UnsupportedField
from animate_server.fields import read_fields
from tests.server.test_errors_in_dialects import SPEAKERS

# How pydantic's sentences begin, by its catalogue of errors.
PHRASES = re.compile(
    r"Input should|String should|List should|Value error|Field required|Extra inputs|URL should|Value should"
    r"|valid (string|integer|boolean|number|dictionary|list)|not permitted|unable to parse|not None",
    re.IGNORECASE,
)
SCALARS = (st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9))
VALUES = st.one_of(*SCALARS, st.lists(st.integers(), max_size=2))


def schemas() -> Iterator[tuple[str, type[BaseModel]]]:
    for dialect in load_dialects():
        for title, model in dialect.schemas.items():
            yield f"{dialect.name} {title[:40]}", model


@pytest.mark.parametrize(("name", "model"), list(schemas()), ids=lambda value: value if isinstance(value, str) else "")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_schema_speaks_in_the_words_of_its_library(name: str, model: type[BaseModel], data: st.DataObject) -> None:
    names = [field.alias or own for own, field in model.model_fields.items()]
    fields = data.draw(st.dictionaries(st.sampled_from([*names, "colour"]), VALUES))
    try:
        read_fields(model, fields)
    except InvalidField as error:
        message = str(error)
        assert not PHRASES.search(message), message
        assert message[:1].isalnum()


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize("change", [{"promtp": "x"}, {"seed": "often"}, {"seed": [1]}, {"prompt": 5}, {"fps": None}])
def test_no_interface_does_either(idle: Any, name: str, change: Mapping[str, Any]) -> None:
    speaker = SPEAKERS[name]
    answer = idle.http.post(speaker.submit, json=speaker.body(dict(speaker.fields) | dict(change)))
    assert not PHRASES.search(answer.text), answer.text


@pytest.mark.parametrize(
    ("given_name", "words"),
    [
        ("imge", "imge is not a field here; did you mean 'image'?"),
        ("zzz", "zzz is not a field here; there are image, inner.seed"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest_one(given_name: str, words: str) -> None:
    class Wanted(BaseModel):
        model_config = {"extra": "forbid"}
        image: str = ""

    with pytest.raises(UnsupportedField) as refused:
        read_fields(Wanted, {given_name: 1})
    assert refused.value.message.startswith(words.partition(",")[0])


def test_query_parameters_and_settings_too(idle: Any) -> None:
    answer = idle.http.get("/v1/jobs", params={"limit": "many"})
    assert answer.json()["error"]["message"] == "limit must be a whole number, not 'many'"


def test_the_document_names_its_keys_and_every_route(idle: Any) -> None:
    document = idle.http.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
    guarded = document["paths"]["/v1/jobs"]["post"]
    assert guarded["security"] == [{"bearer": []}, {"key": []}]
    assert "security" not in document["paths"]["/health/live"]["get"]
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert "502" in tags["segmind"]
    for dialect in load_dialects():
        assert any(path.startswith(dialect.prefix) for path in document["paths"]), dialect.name
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["responses"], (method, path)


def test_the_page_loads_nothing_from_another_host(idle: Any) -> None:
    """The page, and whatever it names, one step on; of its script only that it does not call the public checker."""
    page = idle.http.get("/docs")
    assert page.status_code == 200
    named = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(named) >= 3
    assert [address for address in named if not address.startswith("/")] == []
    for address in named:
        answer = idle.http.get(address)
        assert answer.status_code == 200, address
        if address.endswith(".css"):
            assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", answer.text) == []
    assert json.loads(re.search(r'"validatorUrl": (\w+)', page.text)[1]) is None  # type: ignore[index]
    assert not re.findall(r"https?://(?!127\.0\.0\.1)", page.text)
    assert idle.http.get("/redoc").status_code == 404


def test_no_answer_names_another_host(idle: Any) -> None:
    text = idle.http.get("/openapi.json").text
    hosts = set(re.findall(r"https?://([\w.-]+)", text))
    assert hosts <= {"example.com", "127.0.0.1"}, hosts
