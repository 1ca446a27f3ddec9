"""OpenAPI 3.1 from the endpoints: nothing is described that is not served, and nothing served that is not described."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from chassis.api import Endpoint, described

_REF = "#/components/schemas/{name}"
_COMMON = ((401, "unauthorized"), (403, "forbidden"), (503, "store_unavailable"))


class ProblemDetails(msgspec.Struct, rename={"kind": "type"}):
    """RFC 9457. ``code`` is stable, ``detail`` says what to do."""

    kind: str
    status: int
    code: str
    detail: str


def openapi(title: str, version: str, apis: Iterable[type]) -> dict[str, Any]:
    """The document for these classes of endpoints."""
    specs = [spec for api in apis for spec in described(api)]
    types: list[Any] = [ProblemDetails]
    for spec in specs:
        types += [one for one in (spec.query, spec.body, spec.answers) if one is not None]
    made, components = msgspec.json.schema_components(types, ref_template=_REF)
    # Types need not be hashable (a list of them is not), so they are found again by their place.
    schemas = dict(zip(map(repr, types), made, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for spec in specs:
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", spec.path)
        paths.setdefault(path, {})[spec.method.lower()] = _operation(spec, path, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "the admin token or an API token"},
                "session": {"type": "apiKey", "in": "cookie", "name": "weir_session"},
            },
        },
    }


def _operation(spec: Endpoint, path: str, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": spec.name.replace(".", "_"),
        "summary": spec.summary,
        "responses": {str(spec.status): _answer(spec, schemas)},
        "security": [] if spec.allow is None else [{"bearer": []}, {"session": []}],
    }
    if spec.description:
        operation["description"] = spec.description
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    if spec.query is not None:
        parameters += _query(components[spec.query.__name__])
    if spec.method not in ("GET", "HEAD") and spec.allow is not None:
        parameters.append(
            {
                "name": "X-CSRF-Token",
                "in": "header",
                "required": False,
                "description": "the session's token; needed with a session cookie",
                "schema": {"type": "string"},
            }
        )
    if parameters:
        operation["parameters"] = parameters
    if spec.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[repr(spec.body)]}},
        }
    for status, codes in _errors(spec).items():
        operation["responses"][str(status)] = {
            "description": ", ".join(codes),
            "content": {"application/problem+json": {"schema": schemas[repr(ProblemDetails)]}},
        }
    return operation


def _answer(spec: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    if spec.status == 204:
        return {"description": "done"}
    schema = schemas[repr(spec.answers)] if spec.answers is not None else {}
    return {"description": spec.summary, "content": {spec.produces: {"schema": schema}}}


def _query(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in one.items() if key != "description"},
            **({"description": one["description"]} if "description" in one else {}),
        }
        for name, one in schema["properties"].items()
    ]


def _errors(spec: Endpoint) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    told = [*spec.errors, (503, "store_unavailable")]
    if spec.allow is not None:
        told += _COMMON[:2]
    if spec.query is not None:
        told.append((400, "bad_parameter"))
    if spec.body is not None:
        told += [(400, "not_json"), (413, "too_large"), (415, "not_json"), (422, "bad_body")]
    for status, code in told:
        if code not in found.setdefault(status, []):
            found[status].append(code)
    return dict(sorted(found.items()))
