"""Request fields read into a schema's model, and that schema as the API's document shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from animate_pipelines.errors import InvalidField
from animate_server.errors import MissingField, UnsupportedField
from animate_server.invalid import describe_invalid, limit_of, names_at

Model = TypeVar("Model", bound=BaseModel)
_KINDS: Mapping[str, type[InvalidField]] = {"missing": MissingField, "extra_forbidden": UnsupportedField}
# What pydantic puts into the path of a value that may be of several kinds.
_UNION_STEPS = ("bool", "str", "int", "float", "list[str]")


def read_fields(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Read fields into a model. Raises `InvalidField` for the first that is wrong, named by its path: "input.seed"."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as invalid:
        raise _invalid(model, invalid) from None


def show_body(model: type[BaseModel], *content_types: str) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads `model` by `read_fields`: as JSON, unless other types are named."""
    schema = show_schema(model)
    content = {content_type: {"schema": schema} for content_type in content_types or ("application/json",)}
    return {"requestBody": {"required": True, "content": content}}


def show_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a JSON Schema with inner models in place of references: in the API's document they would point nowhere."""
    schema = model.model_json_schema()
    inner = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        name = str(value.get("$ref", "")).rpartition("/")[2]
        kept = {key: inlined(entry) for key, entry in value.items() if key != "$ref"}
        return inlined(inner[name]) | kept if name else kept

    shown: dict[str, Any] = inlined(schema)
    return shown


def _invalid(model: type[BaseModel], invalid: ValidationError) -> InvalidField:
    first = invalid.errors(include_url=False)[0]
    path = [step for step in first["loc"] if step not in _UNION_STEPS]
    name = ".".join(map(str, path)) or "body"
    value = first["input"] if not isinstance(first["input"], dict | list) else None
    shown = value[:80] if isinstance(value, str) else value
    words = describe_invalid(first, names_at(model, path[:-1]))
    kind = _KINDS.get(first["type"], InvalidField)
    colon = ":" if first["type"] == "value_error" else ""  # a sentence of a schema's own
    return kind(f"{{field}}{colon} {words}", field=name, value=shown, limit=limit_of(first))
