//! Generates the JSON schema of pipeline files, and checks a tree against it.

use super::{
    found::Found,
    tree::{Kind, Node, RENAMED, RenamedKey},
};
use crate::{pipeline::Pipeline, text::shorten};
use serde_json::{Map, Value as Json, json};

/// Path of the committed schema, relative to the repository.
pub const SCHEMA_FILE: &str = "schemas/pipeline.json";

const DEFS: &str = "$defs";
const DEFS_PREFIX: &str = "#/$defs/";
/// Prefix of definitions without required keys.
const PARTIAL: &str = "Partial";

/// Whether required keys must be present.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Keys {
    All,
    Some,
}

/// The JSON schema of pipeline files, including profiles, as indented text.
pub fn schema() -> String {
    let mut schema = pipeline_schema();
    for RenamedKey { section, old, new } in &RENAMED {
        let definition = schema.pointer(&format!("/properties/{section}/$ref")).and_then(Json::as_str);
        let Some(definition) = definition.and_then(|target| target.strip_prefix('#')).map(str::to_owned)
        else {
            continue;
        };
        if let Some(Json::Object(properties)) = schema.pointer_mut(&format!("{definition}/properties"))
            && let Some(Json::Object(mut property)) = properties.get(*new).cloned()
        {
            property.remove("default");
            property.insert("description".into(), json!(format!("The old name of `{new}`.")));
            property.insert("deprecated".into(), json!(true));
            properties.insert((*old).to_owned(), property.into());
        }
    }
    let mut partial = schema.clone();
    let mut definitions = Map::new();
    if let Some(root) = partial.as_object_mut() {
        root.remove("$schema");
        if let Some(Json::Object(found)) = root.remove(DEFS) {
            definitions = found;
        }
    }
    let mut all = definitions.clone();
    for (name, mut definition) in definitions {
        make_partial(&mut definition);
        all.insert(format!("{PARTIAL}{name}"), definition);
    }
    make_partial(&mut partial);
    if let Some(root) = partial.as_object_mut() {
        root.insert("title".into(), json!("Profile"));
        root.insert(
            "description".into(),
            json!("A profile: keys that replace those of the file when it is applied with --profile NAME."),
        );
    }
    all.insert("Profile".into(), partial);
    if let Some(root) = schema.as_object_mut() {
        root.insert(DEFS.into(), Json::Object(all));
        if let Some(Json::Object(properties)) = root.get_mut("properties") {
            properties.insert(
                "profiles".into(),
                json!({
                    "description": "Named variants of this file. --profile NAME applies one.",
                    "type": "object",
                    "additionalProperties": { "$ref": format!("{DEFS_PREFIX}Profile") }
                }),
            );
        }
    }
    // Serialising a JSON value cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

pub(super) fn pipeline_schema() -> Json {
    of::<Pipeline>()
}

pub(super) fn of<T: schemars::JsonSchema>() -> Json {
    schemars::schema_for!(T).to_value()
}

/// Adapts a schema to profiles: no key is required, and the tag of a variant may come from the file.
fn make_partial(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            map.remove("required");
            map.remove("default");
            if let Some(variants) = map.remove("oneOf") {
                map.insert("anyOf".into(), variants);
            }
            if let Some(Json::String(target)) = map.get_mut("$ref")
                && let Some(name) = target.strip_prefix(DEFS_PREFIX)
            {
                *target = format!("{DEFS_PREFIX}{PARTIAL}{name}");
            }
            map.values_mut().for_each(make_partial);
        }
        Json::Array(items) => items.iter_mut().for_each(make_partial),
        _ => {}
    }
}

/// Reports all keys and values of `tree` that the schema does not allow.
pub(super) fn check(tree: &Node, schema: &Json, keys: Keys, found: &mut Found<'_>) {
    Checker { root: schema, keys, found }.value(tree, schema, "", None);
}

/// Reports every key and value of `changes` that the schema does not allow once they are merged over `base`,
/// in which everything that is allowed may be missing. Takes time with the size of `changes` only: files may
/// have many profiles.
pub(super) fn check_changes(changes: &Node, base: &Node, schema: &Json, found: &mut Found<'_>) {
    Checker { root: schema, keys: Keys::Some, found }.value(changes, schema, "", Some(base));
}

struct Checker<'a, 'b, 'c> {
    root: &'a Json,
    keys: Keys,
    found: &'b mut Found<'c>,
}

impl<'a> Checker<'a, '_, '_> {
    /// Checks what stands at `path`; `under` is what it is merged over.
    fn value(&mut self, node: &Node, schema: &'a Json, path: &str, under: Option<&Node>) {
        let schema = self.resolve(schema);
        if let Some(variants) = schema.get("oneOf").and_then(Json::as_array) {
            return self.variants(node, variants, path, under);
        }
        let mut types = type_names(schema).filter(|&name| name != "null");
        match (types.next().unwrap_or_default(), &node.kind) {
            ("object", Kind::Table(_)) => self.table(node, schema, path, under),
            ("array", Kind::Array(items)) => {
                if let Some(schema) = schema.get("items") {
                    for (i, item) in items.iter().enumerate() {
                        self.value(item, schema, &format!("{path}[{i}]"), None);
                    }
                }
            }
            ("integer", Kind::Integer(value)) => {
                let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
                let (low, high) = match format {
                    "uint32" => (0, i128::from(u32::MAX)),
                    // The range of TOML: a larger seed could not be written to a file.
                    "uint" | "uint64" => (0, i128::from(i64::MAX)),
                    _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
                };
                if !(low..=high).contains(value) {
                    let message = format!("expected a whole number from {low} to {high}, found {value}");
                    self.found.add(&node.origin, path, message);
                }
            }
            ("number", Kind::Float(value)) if !value.is_finite() => {
                self.found.add(&node.origin, path, format!("expected a finite number, found {value}"));
            }
            ("number", Kind::Integer(_) | Kind::Float(_))
            | ("string", Kind::Text(_))
            | ("boolean", Kind::Boolean(_)) => {}
            (expected, _) => {
                let expected = match expected {
                    "object" => "a table",
                    "array" => "a list",
                    "integer" => "a whole number",
                    "number" => "a number",
                    "string" => "text",
                    "boolean" => "true or false",
                    other => other,
                };
                self.found.add(&node.origin, path, format!("expected {expected}, found {}", node.describe()));
            }
        }
    }

    fn table(&mut self, node: &Node, schema: &'a Json, path: &str, under: Option<&Node>) {
        let Kind::Table(entries) = &node.kind else { return };
        let properties = schema.get("properties").and_then(Json::as_object);
        for (key, value) in entries {
            let path = join(path, key);
            let known =
                properties.and_then(|all| all.get(key)).or(match schema.get("additionalProperties") {
                    Some(schema @ Json::Object(_)) => Some(schema),
                    _ => None,
                });
            match known {
                Some(schema) => self.value(value, schema, &path, under.and_then(|under| under.get(key))),
                None => {
                    let names = properties.into_iter().flat_map(Map::keys).map(String::as_str);
                    let names = names.chain(extra_names(&path));
                    self.found.add_unknown(&value.origin, &path, "unknown key".into(), key, names);
                }
            }
        }
        if self.keys == Keys::All {
            for key in schema.get("required").and_then(Json::as_array).into_iter().flatten() {
                if let Some(key) = key.as_str().filter(|key| !entries.contains_key(*key)) {
                    self.found.add(&node.origin, path, format!("the key `{key}` is missing"));
                }
            }
        }
    }

    /// Alternatives: texts, or tables that differ by a key with a constant value.
    fn variants(&mut self, node: &Node, variants: &'a [Json], path: &str, under: Option<&Node>) {
        let words: Vec<&str> = variants.iter().filter_map(|v| v.get("const")?.as_str()).collect();
        if words.len() == variants.len() {
            return match &node.kind {
                Kind::Text(text) if words.contains(&text.as_str()) => {}
                Kind::Text(text) => self.unknown_word(node, text, &words, path),
                _ => {
                    let message = format!("expected one of {}, found {}", words.join(", "), node.describe());
                    self.found.add(&node.origin, path, message);
                }
            };
        }
        let Some(tag) = variants.first().and_then(tag_of) else { return };
        let values: Vec<&str> = variants.iter().filter_map(|v| tag_value(v, tag)).collect();
        if !matches!(node.kind, Kind::Table(_)) {
            let message = format!("expected a table with the key `{tag}`, found {}", node.describe());
            return self.found.add(&node.origin, path, message);
        }
        let under = under.filter(|under| !under.is_other_variant(node));
        let chosen = node.get(tag).or(under.and_then(|under| under.get(tag)));
        match chosen {
            None if self.keys == Keys::Some => {}
            None => {
                let message = format!("the key `{tag}` is missing: one of {}", values.join(", "));
                self.found.add(&node.origin, path, message);
            }
            Some(Node { kind: Kind::Text(text), origin: _ }) if values.contains(&text.as_str()) => {
                if let Some(schema) = variants.iter().find(|v| tag_value(v, tag) == Some(text)) {
                    self.table(node, schema, path, under);
                    // The schema of the keys below is known only now.
                    if let Some(under) = under.filter(|under| under.get(tag).is_none()) {
                        self.table(under, schema, path, None);
                    }
                }
            }
            Some(value) => match &value.kind {
                Kind::Text(text) => self.unknown_word(value, text, &values, &join(path, tag)),
                _ => {
                    let message =
                        format!("expected one of {}, found {}", values.join(", "), value.describe());
                    self.found.add(&value.origin, &join(path, tag), message);
                }
            },
        }
    }

    fn unknown_word(&mut self, node: &Node, word: &str, known: &[&str], path: &str) {
        let found = shorten(&format!("{word:?}"));
        let message = format!("unknown value {found}, expected one of {}", known.join(", "));
        self.found.add_unknown(&node.origin, path, message, word, known.iter().copied());
    }

    /// Resolves references, and the "or null" of optional keys.
    fn resolve(&self, mut schema: &'a Json) -> &'a Json {
        loop {
            let target = schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix(DEFS_PREFIX));
            if let Some(next) = target.and_then(|name| self.root.get(DEFS)?.get(name)) {
                schema = next;
                continue;
            }
            let options = schema.get("anyOf").and_then(Json::as_array);
            let is_null = |s: &Json| s.get("type").and_then(Json::as_str) == Some("null");
            match options.and_then(|all| all.iter().find(|s| !is_null(s))) {
                Some(next) => schema = next,
                None => return schema,
            }
        }
    }
}

/// Names beside those of the schema that the unknown key at `path` may have been meant to be: `profiles`, which is not
/// part of the effective configuration, and the old names of keys.
fn extra_names(path: &str) -> Vec<&'static str> {
    match path.rsplit_once('.') {
        None => vec!["profiles"],
        Some((section, _)) => {
            RENAMED.iter().filter(|key| key.section == section).map(|key| key.old).collect()
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn type_names(schema: &Json) -> impl Iterator<Item = &str> {
    let one = schema.get("type").and_then(Json::as_str);
    let many = schema.get("type").and_then(Json::as_array).into_iter().flatten();
    one.into_iter().chain(many.filter_map(Json::as_str))
}

/// The key with a constant value in a variant.
fn tag_of(variant: &Json) -> Option<&str> {
    let properties = variant.get("properties")?.as_object()?;
    properties.iter().find(|(_, schema)| schema.get("const").is_some()).map(|(key, _)| key.as_str())
}

fn tag_value<'a>(variant: &'a Json, tag: &str) -> Option<&'a str> {
    variant.get("properties")?.get(tag)?.get("const")?.as_str()
}
