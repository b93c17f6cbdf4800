//! `get_staging_config_values`: values of allow-listed keys; of a secret only whether there is one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use wire::execution::action::{GetStagingConfigValues, KEYS_MAX};
use wire::execution::reply::Told;
use wire::execution::{Code, Summary, Word};

use super::{Means, Outcome, Prepared};
use crate::paper::{self, Readers};

/// The largest file of values, in bytes.
const VALUES_BYTES_MAX: u64 = 1 << 20;

/// The longest value that is told, in bytes.
const VALUE_BYTES_MAX: usize = 1_024;

/// What is configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A TOML table of names and texts.
    file: PathBuf,
    /// The keys that may be asked for.
    pub(super) keys: BTreeMap<Word, Key>,
}

/// What may be told of a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Key {
    /// Its value.
    Value,
    /// Whether the secret of this name is there.
    Secret(String),
}

impl Settings {
    pub(super) fn prepare<'a>(
        &'a self,
        asked: &'a GetStagingConfigValues,
        means: Means<'a>,
    ) -> Result<Prepared<'a>, Code> {
        let bytes = paper::read(&self.file, VALUES_BYTES_MAX, Readers::Anybody);
        let bytes = bytes.map_err(|_| Code::Unavailable)?;
        let table: Option<BTreeMap<String, String>> = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|it| toml::from_str(it).ok());
        let mut table = table.ok_or(Code::Unavailable)?;
        let mut values = BTreeMap::new();
        for key in &asked.keys {
            let told = match self.keys.get(key).ok_or(Code::NotAllowed)? {
                Key::Secret(name) => Told::IsPresent(means.secrets.contains_key(name)),
                Key::Value => {
                    let value = table.remove(key.as_str());
                    if value.as_ref().is_some_and(|it| it.len() > VALUE_BYTES_MAX) {
                        return Err(Code::Unavailable);
                    }
                    Told::Value(value)
                }
            };
            values.insert(key.clone(), told);
        }
        Ok(Prepared {
            before: None,
            perform: Box::new(move || Outcome::Done(Summary::GetStagingConfigValues { values })),
        })
    }
}

/// Returns the schemas of arguments and summary.
pub(super) fn schemas() -> (Value, Value) {
    let word = json!({"$ref": "#/components/schemas/Word"});
    let arguments = json!({"keys": {
        "type": "array", "items": word, "uniqueItems": true, "minItems": 1, "maxItems": KEYS_MAX,
        "description": "in ascending order",
    }});
    let told = json!({"oneOf": [
        {
            "type": "object", "additionalProperties": false, "required": ["value"],
            "properties": {"value": {"type": ["string", "null"]}},
        },
        {
            "type": "object", "additionalProperties": false, "required": ["is_present"],
            "properties": {"is_present": {"type": "boolean"}},
        },
    ]});
    let summary = json!({"values": {
        "type": "object", "propertyNames": word, "additionalProperties": told,
    }});
    (arguments, summary)
}
