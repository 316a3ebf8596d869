"""Request fields read into a schema's model, and that schema as the API's document shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from animate_pipelines.errors import InvalidField
from animate_server.errors import MissingField, UnsupportedField

Model = TypeVar("Model", bound=BaseModel)
_KINDS: Mapping[str, type[InvalidField]] = {"missing": MissingField, "extra_forbidden": UnsupportedField}
_LIMITS = ("expected", "ge", "le", "max_length", "min_length")


def read_fields(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Read fields into a model. Raises `InvalidField` for the first that is wrong, named by its path: "input.seed"."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as invalid:
        raise _invalid(invalid) from None


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


def _invalid(invalid: ValidationError) -> InvalidField:
    first = invalid.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"])) or "body"
    value = first["input"] if not isinstance(first["input"], dict | list) else None
    shown = value[:80] if isinstance(value, str) else value
    reason = first["msg"].removeprefix("Value error, ")
    but = "" if first["type"] in ("missing", "value_error") else f", not {shown!r}"
    kind = _KINDS.get(first["type"], InvalidField)
    return kind(f"{{field}}: {reason[0].lower()}{reason[1:]}{but}", field=name, value=shown, limit=_limit(first))


def _limit(first: Mapping[str, Any]) -> Any:
    context = first.get("ctx") or {}
    return next((context[key] for key in _LIMITS if key in context), None)
