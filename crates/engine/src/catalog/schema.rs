//! Schemas of judges' answers: a strict subset of JSON Schema, checked when a formula is read, and
//! what an answer breaks of one.
//!
//! Known are `type`, `properties`, `required`, `additionalProperties` (false alone), `items`, `enum`
//! (of texts), `minItems`, `maxItems`, `minLength`, `maxLength`, `minimum`, `maximum`, `title` and
//! `description`. There are no references, no patterns and no combinations (ADR 0014).

use std::collections::BTreeMap;

use domain::formula::Judge;
use serde_json::{Map, Value};

use super::sheet::Faults;
use super::{FileFault, Source};

/// The largest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 32 * 1024;

/// How deep a schema may nest.
const DEPTH_MAX: usize = 8;

/// The most things that one complaint names.
const COMPLAINTS_MAX: usize = 20;

/// The form of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// An object with these fields; others are refused.
    Object {
        /// The fields.
        fields: BTreeMap<String, Self>,
        /// Those that must be there.
        required: Vec<String>,
    },
    /// A list.
    Array {
        /// The form of each item.
        items: Box<Self>,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A text, with so many characters.
    Text {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// One of these texts.
    Word(Vec<String>),
    /// A whole number.
    Integer {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// Any number.
    Number {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// True or false.
    Truth,
}

/// Reads a schema.
///
/// # Errors
/// Names everything that is wrong with it, each with its place as a JSON pointer.
pub fn read(text: &str) -> Result<Schema, Vec<String>> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(vec![format!(
            "a schema has at most {SCHEMA_BYTES_MAX} bytes"
        )]);
    }
    let value: Value = serde_json::from_str(text).map_err(|it| vec![it.to_string()])?;
    let mut faults = Vec::new();
    let schema = understood(&value, "", 0, &mut faults);
    match schema {
        Some(schema @ Schema::Object { .. }) if faults.is_empty() => Ok(schema),
        Some(_) if faults.is_empty() => Err(vec!["the outermost `type` is `object`".to_string()]),
        Some(_) | None => Err(faults),
    }
}

fn understood(value: &Value, at: &str, depth: usize, faults: &mut Vec<String>) -> Option<Schema> {
    let place = if at.is_empty() { "/" } else { at };
    let Some(object) = value.as_object() else {
        faults.push(format!("{place}: a schema is an object"));
        return None;
    };
    if depth > DEPTH_MAX {
        faults.push(format!("{place}: nested deeper than {DEPTH_MAX}"));
        return None;
    }
    let kind = object.get("type").and_then(Value::as_str).unwrap_or("");
    let known: &[&str] = match kind {
        "object" => &["properties", "required", "additionalProperties"],
        "array" => &["items", "minItems", "maxItems"],
        "string" => &["enum", "minLength", "maxLength"],
        "integer" | "number" => &["minimum", "maximum"],
        "boolean" => &[],
        _ => {
            let kinds = "`object`, `array`, `string`, `integer`, `number`, `boolean`";
            faults.push(format!("{place}: `type` is one of {kinds}"));
            return None;
        }
    };
    for key in object.keys() {
        let common = ["type", "title", "description"];
        if !known.contains(&key.as_str()) && !common.contains(&key.as_str()) {
            faults.push(format!(
                "{place}: `{key}` is not understood here; see docs/MODELS.md"
            ));
        }
    }
    match kind {
        "object" => understood_object(object, at, depth, faults),
        "array" => understood_array(object, at, depth, faults),
        "string" => understood_text(object, at, faults),
        "boolean" => Some(Schema::Truth),
        kind => {
            let mut bound = |key: &str, none: f64| match object.get(key) {
                None => none,
                Some(value) => value.as_f64().unwrap_or_else(|| {
                    faults.push(format!("{place}: `{key}` is a number"));
                    none
                }),
            };
            let min = bound("minimum", f64::NEG_INFINITY);
            let max = bound("maximum", f64::INFINITY);
            if min > max {
                faults.push(format!(
                    "{place}: `minimum` is over `maximum`, so nothing fits"
                ));
            }
            Some(if kind == "integer" {
                Schema::Integer { min, max }
            } else {
                Schema::Number { min, max }
            })
        }
    }
}

fn understood_array(
    object: &Map<String, Value>,
    at: &str,
    depth: usize,
    faults: &mut Vec<String>,
) -> Option<Schema> {
    let min = size(object, "minItems", at, faults).unwrap_or(0);
    let max = size(object, "maxItems", at, faults).unwrap_or(usize::MAX);
    let Some(items) = object.get("items") else {
        let place = if at.is_empty() { "/" } else { at };
        faults.push(format!("{place}: `items` is missing"));
        return None;
    };
    let items = understood(items, &format!("{at}/items"), depth + 1, faults)?;
    Some(Schema::Array {
        items: Box::new(items),
        min,
        max,
    })
}

fn understood_text(
    object: &Map<String, Value>,
    at: &str,
    faults: &mut Vec<String>,
) -> Option<Schema> {
    let Some(words) = object.get("enum") else {
        let min = size(object, "minLength", at, faults).unwrap_or(0);
        let max = size(object, "maxLength", at, faults).unwrap_or(usize::MAX);
        return Some(Schema::Text { min, max });
    };
    let words = texts(Some(words));
    if words.is_none() {
        let place = if at.is_empty() { "/" } else { at };
        faults.push(format!("{place}: `enum` is a list of texts"));
    }
    words.map(Schema::Word)
}

fn understood_object(
    object: &Map<String, Value>,
    at: &str,
    depth: usize,
    faults: &mut Vec<String>,
) -> Option<Schema> {
    let place = if at.is_empty() { "/" } else { at };
    if object
        .get("additionalProperties")
        .is_some_and(|it| *it != Value::Bool(false))
    {
        faults.push(format!("{place}: `additionalProperties` can only be false"));
    }
    let Some(properties) = object.get("properties").and_then(Value::as_object) else {
        faults.push(format!("{place}: `properties` is missing"));
        return None;
    };
    let mut fields = BTreeMap::new();
    for (name, value) in properties {
        let at = format!("{at}/properties/{name}");
        if let Some(schema) = understood(value, &at, depth + 1, faults) {
            fields.insert(name.clone(), schema);
        }
    }
    let required = match object.get("required") {
        None => Vec::new(),
        required => texts(required).unwrap_or_else(|| {
            faults.push(format!("{place}: `required` is a list of texts"));
            Vec::new()
        }),
    };
    for name in &required {
        if !properties.contains_key(name) {
            faults.push(format!("{place}: `{name}` is required, and is no property"));
        }
    }
    Some(Schema::Object { fields, required })
}

fn size(
    object: &Map<String, Value>,
    key: &str,
    at: &str,
    faults: &mut Vec<String>,
) -> Option<usize> {
    let value = object.get(key)?;
    let size = value.as_u64().and_then(|it| usize::try_from(it).ok());
    if size.is_none() {
        faults.push(format!("{at}/{key}: a whole number, not negative"));
    }
    size
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let all = value?.as_array()?.iter();
    all.map(|it| it.as_str().map(str::to_string)).collect()
}

/// Returns what is wrong with a schema in a file of its own.
#[must_use]
pub fn faults(source: &Source) -> Vec<FileFault> {
    let faults = Faults::of(source);
    // A fault of syntax has a line and a column of its own.
    match serde_json::from_str::<Value>(&source.text) {
        Err(error) => {
            let before = error.line().saturating_sub(1);
            let lines = source.text.split_inclusive('\n').take(before);
            let at = lines.map(str::len).sum::<usize>();
            let at = at.saturating_add(error.column().saturating_sub(1));
            faults.add(&(at..at), error.to_string());
        }
        Ok(_) => {
            for message in read(&source.text).err().unwrap_or_default() {
                let at = place(&source.text, &message);
                faults.add(&(at..at), message);
            }
        }
    }
    faults.sorted()
}

/// Returns where the last name of a pointer first stands after those before it.
fn place(text: &str, message: &str) -> usize {
    let pointer = message.split(": ").next().unwrap_or_default();
    let mut at = 0;
    for name in pointer.split('/').filter(|it| !it.is_empty()) {
        let quoted = format!("\"{name}\"");
        if let Some(found) = text.get(at..).and_then(|it| it.find(&quoted)) {
            at += found;
        }
    }
    at
}

/// Returns everything that is wrong with a value, each with its place.
#[must_use]
pub fn complaints(schema: &Schema, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(schema, value, "", &mut found);
    found.truncate(COMPLAINTS_MAX);
    found
}

fn look(schema: &Schema, value: &Value, at: &str, found: &mut Vec<String>) {
    if found.len() >= COMPLAINTS_MAX {
        return;
    }
    let place = if at.is_empty() { "/" } else { at };
    let mut complain = |wanted: &str| found.push(format!("{place}: {wanted}"));
    match (schema, value) {
        (Schema::Object { fields, required }, Value::Object(object)) => {
            for name in required.iter().filter(|it| !object.contains_key(*it)) {
                complain(&format!("`{name}` is missing"));
            }
            for name in object.keys().filter(|it| !fields.contains_key(*it)) {
                let shown: String = name.escape_debug().take(80).collect();
                complain(&format!("`{shown}` is not a field"));
            }
            for (name, schema) in fields {
                if let Some(value) = object.get(name) {
                    look(schema, value, &format!("{at}/{name}"), found);
                }
            }
        }
        (Schema::Array { items, min, max }, Value::Array(all)) => {
            if all.len() < *min || all.len() > *max {
                complain(&format!("{} items, not {min} to {max}", all.len()));
            }
            for (index, value) in all.iter().enumerate().take(*max) {
                look(items, value, &format!("{at}/{index}"), found);
            }
        }
        (Schema::Text { min, max }, Value::String(text)) => {
            let count = text.chars().count();
            if count < *min || count > *max {
                complain(&format!("{count} characters, not {min} to {max}"));
            }
        }
        (Schema::Word(words), Value::String(text)) => {
            if !words.contains(text) {
                complain(&format!("is none of {}", words.join(", ")));
            }
        }
        (Schema::Integer { min, max }, Value::Number(number)) => {
            let is_whole = number.is_i64() || number.is_u64();
            let inside = number.as_f64().is_some_and(|it| it >= *min && it <= *max);
            if !is_whole || !inside {
                complain("must be a whole number within its bounds");
            }
        }
        (Schema::Number { min, max }, Value::Number(number)) => {
            if !number.as_f64().is_some_and(|it| it >= *min && it <= *max) {
                complain("must be a number within its bounds");
            }
        }
        (Schema::Truth, Value::Bool(_)) => {}
        (Schema::Object { .. }, _) => complain("must be an object"),
        (Schema::Array { .. }, _) => complain("must be a list"),
        (Schema::Text { .. } | Schema::Word(_), _) => complain("must be a text"),
        (Schema::Integer { .. } | Schema::Number { .. }, _) => complain("must be a number"),
        (Schema::Truth, _) => complain("must be true or false"),
    }
}

/// The fields of a question in an answer, all of them texts but the options.
const QUESTION: [&str; 6] = [
    "priority",
    "question",
    "why",
    "recommended",
    "impact",
    "default_held",
];

/// Returns what is wrong with the fields that a judge names, given its schema.
#[must_use]
pub fn field_faults(schema: &Schema, judge: &Judge) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let Schema::Object { fields, required } = schema else {
        return faults;
    };
    let field = |name: &str| {
        fields
            .get(name)
            .filter(|_| required.iter().any(|it| it == name))
    };
    match (field(&judge.verdict), judge.passes.as_slice()) {
        (Some(Schema::Truth), []) => {}
        (Some(Schema::Truth), _) => {
            let told = "is for a verdict that is a word; this one is true or false";
            faults.push(("passes", told.to_string()));
        }
        (Some(Schema::Word(_)), []) => {
            faults.push((
                "verdict",
                "say with `passes` which of its words pass".to_string(),
            ));
        }
        (Some(Schema::Word(words)), passes) => {
            for it in passes.iter().filter(|it| !words.contains(it)) {
                faults.push(("passes", format!("`{it}` is none of {}", words.join(", "))));
            }
        }
        (_, _) => faults.push((
            "verdict",
            format!(
                "`{}` is no required field of the schema that is true or false, or an `enum`",
                judge.verdict
            ),
        )),
    }
    if let Some(name) = &judge.reasons {
        let texts = matches!(
            field(name),
            Some(Schema::Array { items, .. }) if matches!(**items, Schema::Text { .. })
        );
        if !texts {
            faults.push((
                "reasons",
                format!("`{name}` is no required list of texts of the schema"),
            ));
        }
    }
    if let Some(name) = &judge.files
        && !field(name).is_some_and(holds_questions)
    {
        let fields = QUESTION.join("`, `");
        let told = format!(
            "`{name}` is no required list of objects with `{fields}` (texts) and `options` (texts, \
             two or more) of the schema, all required"
        );
        faults.push(("files", told));
    }
    faults
}

fn holds_questions(schema: &Schema) -> bool {
    let Schema::Array { items, .. } = schema else {
        return false;
    };
    let Schema::Object { fields, required } = items.as_ref() else {
        return false;
    };
    let texts = QUESTION.iter().all(|name| {
        required.iter().any(|it| it == name)
            && matches!(
                fields.get(*name),
                Some(Schema::Text { .. } | Schema::Word(_))
            )
    });
    let options = required.iter().any(|it| it == "options")
        && matches!(
            fields.get("options"),
            Some(Schema::Array { items, min, .. })
                if *min >= 2 && matches!(**items, Schema::Text { .. })
        );
    texts && options
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form() -> Value {
        json!({
            "type": "object", "required": ["pass", "reasons"], "additionalProperties": false,
            "properties": {
                "pass": {"type": "boolean", "description": "whether"},
                "reasons": {"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 5}},
                "grade": {"type": "string", "enum": ["good", "bad"]},
                "score": {"type": "integer", "minimum": 0, "maximum": 10},
            }
        })
    }

    #[test]
    fn a_value_is_held_to_its_form() {
        let schema = read(&form().to_string()).unwrap();
        let of = |value: Value| complaints(&schema, &value);
        assert_eq!(
            of(json!({"pass": true, "reasons": ["a"], "grade": "bad", "score": 10})),
            [""; 0]
        );
        assert_eq!(
            of(
                json!({"pass": "yes", "reasons": ["a", 1, "c"], "grade": "fair", "score": 1.5, "x": 1})
            ),
            [
                "/: `x` is not a field",
                "/grade: is none of good, bad",
                "/pass: must be true or false",
                "/reasons: 3 items, not 0 to 2",
                "/reasons/1: must be a text",
                "/score: must be a whole number within its bounds",
            ]
        );
        assert_eq!(of(json!({"pass": true})), ["/: `reasons` is missing"]);
        assert_eq!(of(json!([])), ["/: must be an object"]);
        assert_eq!(of(json!({"pass": true, "reasons": ["abcdef"]})).len(), 1);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_place() {
        let of = |value: Value| read(&value.to_string()).unwrap_err();
        let remote = of(json!({"type": "object", "properties": {
            "a": {"$ref": "https://example.org/schema"},
            "b": {"type": "string", "pattern": "(a+)+$"},
            "c": {"type": "array"},
        }}));
        assert_eq!(remote.len(), 3, "{remote:?}");
        assert!(remote[0].starts_with("/properties/a: `type` is one of"));
        assert!(remote[1].starts_with("/properties/b: `pattern` is not understood"));
        assert_eq!(remote[2], "/properties/c: `items` is missing");
        let bounds = of(json!({"type": "object", "properties": {
            "a": {"type": "number", "minimum": "0"},
            "b": {"type": "integer", "minimum": 2, "maximum": 1},
        }}));
        assert_eq!(bounds[0], "/properties/a: `minimum` is a number");
        assert!(
            bounds[1].starts_with("/properties/b: `minimum` is over"),
            "{bounds:?}"
        );
        assert_eq!(
            of(json!({"type": "string"})),
            ["the outermost `type` is `object`"]
        );
        let mut deep = json!({"type": "boolean"});
        for _ in 0..20 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(of(deep)[0].contains("nested deeper"));
        assert!(read("{").is_err());
        assert!(read(&" ".repeat(SCHEMA_BYTES_MAX + 1)).is_err());
    }
}
