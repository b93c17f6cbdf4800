//! The contract as OpenAPI 3.1: made of the same lists that the code goes by, served at
//! `/openapi.json` and committed as `docs/openapi/executor.json`.

use serde_json::{Map, Value, json};
use wire::execution::{Code, Failure, Kind, Word};

use crate::actions;

/// Returns the document.
#[must_use]
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Palisade executor",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A closed list of typed actions. Reached by a unix socket, or by TCP with mutual TLS.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths(),
        "components": {"schemas": schemas()},
    })
}

/// Returns the schema of an action's arguments.
pub(crate) fn arguments(kind: Kind) -> Value {
    lenient(closed(&actions::schemas(kind).0), kind)
}

/// Returns the schema of an action's summary.
pub(crate) fn summary(kind: Kind) -> Value {
    let mut fields = actions::schemas(kind).1;
    fields["of"] = json!({"const": kind.name()});
    lenient(closed(&fields), kind)
}

/// Takes what may be left out from what is required.
fn lenient(mut schema: Value, kind: Kind) -> Value {
    if let Some(required) = schema["required"].as_array_mut() {
        let optional = actions::optional(kind);
        required.retain(|it| !optional.iter().any(|name| it == name));
    }
    schema
}

fn paths() -> Value {
    let get = |what: &str, schema: &str| {
        json!({"get": {
            "summary": what,
            "responses": {"200": answer("As it is.", schema), "default": problem()},
        }})
    };
    json!({
        "/execute": {"post": {
            "summary": "Executes an action once; the same request sent again gets the same receipt.",
            "requestBody": {"required": true, "content": {"application/json": {"schema": reference("Request")}}},
            "responses": {"200": answer("What became of it.", "Receipt"), "default": problem()},
        }},
        "/receipts/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": reference("RequestId")}],
            "get": {
                "summary": "Tells the receipt of a request to who sent it.",
                "responses": {"200": answer("What became of it.", "Receipt"), "default": problem()},
            },
        },
        "/actions": get("Lists what is configured, and the policy's digest that approvals name.", "Actions"),
        "/healthz": get("Tells whether it runs.", "Health"),
        "/readyz": get("Tells whether it would execute.", "Health"),
        "/openapi.json": get("This document.", "Document"),
        "/metrics": {"get": {
            "summary": "Counts, for Prometheus.",
            "responses": {
                "200": {"description": "As it is.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                "default": problem(),
            },
        }},
    })
}

fn schemas() -> Value {
    let digest = json!({"type": "string", "pattern": "^b3:[0-9a-f]{64}$"});
    let word = json!({
        "type": "string", "maxLength": Word::BYTES_MAX,
        "pattern": "^(?!.*\\.\\.)(?!.*\\.$)(?!.*\\.[lL][oO][cC][kK]$)[A-Za-z0-9][A-Za-z0-9_.-]*$",
    });
    let moment = json!({"type": "integer", "minimum": 0, "description": "milliseconds since 1970"});
    json!({
        "Digest": digest,
        "Word": word,
        "Moment": moment,
        "Commit": {"type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"},
        "RequestId": {"type": "string", "pattern": "^exec_[0-7][0-9a-hjkmnp-tv-z]{25}$"},
        "Request": requests(),
        "Envelope": envelope(),
        "Receipt": receipt(),
        "Problem": problems(),
        "Health": closed(&json!({"ok": {"type": "boolean"}})),
        "Actions": closed(&json!({
            "policy": reference("Digest"), "target": reference("Word"),
            "requester": {"type": "string"},
            "actions": {"type": "array", "items": {"type": "object"}},
        })),
        "Document": {"type": "object"},
    })
}

fn requests() -> Value {
    let each: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let mut schema = closed(&json!({
                "request_id": reference("RequestId"),
                "action": {"const": kind.name()},
                "arguments": arguments(kind),
                "lane": {"const": kind.lane()},
                "target": reference("Word"),
            }));
            schema["title"] = json!(kind.name());
            schema["properties"]["approval"] = reference("Envelope");
            schema["description"] = json!(if kind.needs_permit() {
                "Each call needs a permit of its own."
            } else {
                "Runs on a standing grant."
            });
            schema
        })
        .collect();
    json!({"oneOf": each})
}

fn envelope() -> Value {
    let base64 = json!({"type": "string", "contentEncoding": "base64"});
    closed(&json!({
        "payload": base64,
        "payloadType": {"type": "string"},
        "signatures": {
            "type": "array", "minItems": 1, "maxItems": 1,
            "items": closed(&json!({"keyid": {"type": "string"}, "sig": base64})),
        },
    }))
}

fn receipt() -> Value {
    let summaries: Vec<_> = Kind::ALL.into_iter().map(summary).collect();
    let mut schema = closed(&json!({
        "request_id": reference("RequestId"),
        "action": {"enum": Kind::ALL.map(Kind::name)},
        "ok": {"type": "boolean"},
        "status": {"enum": ["succeeded", "failed", "unknown"]},
        "is_reconciled": {"type": "boolean"},
        "evidence": closed(&json!({
            "sequence": {"type": "integer", "minimum": 1},
            "digest": reference("Digest"), "at": reference("Moment"),
        })),
    }));
    schema["properties"]["summary"] = json!({"oneOf": summaries});
    schema["properties"]["failure"] = json!({"enum": Failure::ALL.map(Failure::name)});
    schema
}

fn problems() -> Value {
    let codes: Vec<_> = Code::ALL.iter().map(|it| it.name()).collect();
    let mut schema = closed(&json!({
        "type": {"type": "string"}, "title": {"type": "string"},
        "status": {"type": "integer"}, "code": {"enum": codes},
    }));
    schema["properties"]["detail"] = json!({"type": "string"});
    schema["properties"]["request_id"] = reference("RequestId");
    schema
}

/// Returns an object with exactly these fields.
fn closed(fields: &Value) -> Value {
    let names: Vec<_> = fields
        .as_object()
        .map(Map::keys)
        .into_iter()
        .flatten()
        .collect();
    json!({
        "type": "object", "additionalProperties": false,
        "required": names, "properties": fields,
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn answer(what: &str, schema: &str) -> Value {
    json!({"description": what, "content": {"application/json": {"schema": reference(schema)}}})
}

fn problem() -> Value {
    let schema = json!({"schema": reference("Problem")});
    json!({"description": "Nothing was done.", "content": {"application/problem+json": schema}})
}
