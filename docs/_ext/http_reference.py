"""The endpoints of the service as Markdown, from its own OpenAPI description."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from gpwarehouse.settings import WarehouseSettings

NOWHERE = "postgresql://docs@127.0.0.1:1/docs"
"""A server that is not there: describing the endpoints asks none."""


def describe() -> dict[str, Any]:
    """The OpenAPI description of a service with a login for each role, so with all endpoints."""
    from gpwarehouse.service import create_app

    with tempfile.TemporaryDirectory() as folder:
        logins = {f"service_{role}_url": NOWHERE for role in ("reader", "loader", "admin")}
        app = create_app(WarehouseSettings(_env_file=None, url=NOWHERE, service_state_dir=folder, **logins))
        try:
            found: dict[str, Any] = app.openapi()
        finally:
            app.state.service.close()
    return found


def endpoints() -> str:
    """Every endpoint: what it does, what it takes, what it answers."""
    spec = describe()
    lines: list[str] = []
    for path, methods in sorted(spec["paths"].items()):
        for method, operation in methods.items():
            lines += endpoint(spec, f"{method.upper()} {path}", operation)
    return "\n".join(lines)


def endpoint(spec: dict[str, Any], title: str, operation: dict[str, Any]) -> Iterator[str]:
    """One endpoint."""
    yield f"## `{title}`"
    yield ""
    yield f"**{operation['summary']}.** {operation.get('description', '').replace('``', '`')}"
    yield ""
    rows = [parameter_row(each) for each in operation.get("parameters", ())]
    rows += body_rows(spec, operation.get("requestBody", {}))
    if rows:
        yield "| Takes | Type | Meaning |"
        yield "|---|---|---|"
        yield from rows
        yield ""
    yield from answers(spec, operation["responses"])


def parameter_row(parameter: dict[str, Any]) -> str:
    """A parameter of the path, the query string or the header."""
    kind = f"{type_of(parameter['schema'])}, in the {parameter['in']}"
    return row(parameter["name"], kind, parameter.get("description"), parameter["schema"])


def body_rows(spec: dict[str, Any], body: dict[str, Any]) -> list[str]:
    """The fields of a body in JSON, or the types that another body may have."""
    content = body.get("content", {})
    if "application/json" in content:
        return list(field_rows(spec, content["application/json"].get("schema", {})))
    kinds = ", ".join(f"`{kind}`" for kind in content)
    return [f"| body | bytes | {cell(body.get('description', ''))} Content-Type: {kinds} |"] if content else []


def field_rows(spec: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """The fields of a model, or of the models in a list."""
    model = resolve(spec, schema.get("items", schema))
    for name, field in model.get("properties", {}).items():
        yield row(name, type_of(field), field.get("description"), field)


def answers(spec: dict[str, Any], responses: dict[str, Any]) -> Iterator[str]:
    """The fields of a success, and the statuses."""
    for status, response in sorted(responses.items()):
        response["description"] = response["description"].replace("Successful Response", "Success.")
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if status.startswith("2") and (rows := list(field_rows(spec, schema))):
            yield "| Answers | Type | Meaning |"
            yield "|---|---|---|"
            yield from rows
            yield ""
    yield "Statuses:"
    yield ""
    problems = []
    for status, response in sorted(responses.items()):
        kinds = list(response.get("content", {}))
        if kinds == ["application/problem+json"] and response["description"] == HTTPStatus(int(status)).phrase:
            problems.append(status)
            continue
        of = f" ({', '.join(f'`{kind}`' for kind in kinds)})" if kinds else ""
        yield f"- {status}: {response['description']}{of}"
    if problems:
        yield f"- {', '.join(problems)}: a problem"
    yield ""


def row(name: str, kind: str, about: str | None, field: dict[str, Any]) -> str:
    """A line of a table."""
    said = [" ".join((about or "").split())]
    if field.get("default") is not None and field["default"] != {}:
        said.append(f"Default: `{field['default']}`.")
    return f"| `{name}` | {cell(kind)} | {cell(' '.join(filter(None, said)))} |"


def cell(text: str) -> str:
    """A text as a cell; a bar in it is no end of the cell."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def type_of(schema: dict[str, Any]) -> str:
    """The type of a value, in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if kinds := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(type_of(each) for each in kinds))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {type_of(schema['items'])}" if schema.get("items") else "array"
    return str(schema.get("format") or schema.get("type", "any"))


def resolve(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
