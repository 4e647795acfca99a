//! TOML values with the places where they were written.

use super::error::Error;
use crate::text::shorten;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    rc::Rc,
};
use toml::de::{DeTable, DeValue};

/// Keys that select the variant of a table: a table with another value of such a key is replaced, not merged.
const TAGS: [&str; 2] = ["kind", "recipe"];

/// Where a value was written. It is cheap to clone, since every value of a tree has one. Lines are one-based; 0 is the file
/// as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    File { line: usize },
    Profile { name: Rc<str>, line: usize },
    Set { text: Rc<str> },
}

/// A key that had another name in earlier versions, which is still accepted.
pub(super) struct RenamedKey {
    /// The table at the root that holds the key.
    pub(super) section: &'static str,
    pub(super) old: &'static str,
    pub(super) new: &'static str,
}

/// All renamed keys.
pub(super) const RENAMED: [RenamedKey; 1] =
    [RenamedKey { section: "search", old: "pull", new: "receptive_field_penalty" }];

/// A value with its origin. The origin of a table's entry is that of its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text(String),
    /// Wider than TOML's integers, so that values out of range can be reported.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Date(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Table(entries) => entries.get(key),
            _ => None,
        }
    }

    /// The origin of the value at a path such as `a.b[2]`, or of the longest prefix of the path that exists.
    pub(super) fn place(&self, path: &str) -> &Origin {
        let mut node = self;
        for part in path.split(['.', '[']) {
            let next = match (&node.kind, part.strip_suffix(']')) {
                (Kind::Array(items), Some(index)) => index.parse().ok().and_then(|i: usize| items.get(i)),
                _ => node.get(part),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        &node.origin
    }

    /// This tree with `changes` merged over it. Tables are merged key by key; other values, and tables of another variant,
    /// are replaced.
    pub(super) fn merged(self, changes: Node) -> Node {
        if self.is_other_variant(&changes) {
            return changes;
        }
        let (mine, theirs) = match (self.kind, changes.kind) {
            (Kind::Table(mine), Kind::Table(theirs)) => (mine, theirs),
            (_, kind) => return Node { origin: changes.origin, kind },
        };
        let mut entries = mine;
        for (key, change) in theirs {
            let value = match entries.remove(&key) {
                Some(old) => old.merged(change),
                None => change,
            };
            entries.insert(key, value);
        }
        Node { origin: self.origin, kind: Kind::Table(entries) }
    }

    /// Whether `changes` select another variant of this table, so that they replace it.
    pub(super) fn is_other_variant(&self, changes: &Node) -> bool {
        TAGS.iter().any(|&tag| match (self.get(tag), changes.get(tag)) {
            (Some(a), Some(b)) => a.kind != b.kind,
            _ => false,
        })
    }

    /// A description of the value for messages.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Text(text) => format!("the text {}", shorten(&format!("{text:?}"))),
            Kind::Integer(value) => format!("the number {value}"),
            Kind::Float(value) => format!("the number {value:?}"),
            Kind::Boolean(value) => format!("{value}"),
            Kind::Date(text) => format!("the date {text}"),
            Kind::Array(_) => "a list".into(),
            Kind::Table(_) => "a table".into(),
        }
    }

    /// The value as JSON. Numbers that JSON cannot represent become null.
    pub(super) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Text(text) | Kind::Date(text) => Json::from(text.as_str()),
            Kind::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => Json::from(value),
                (_, Ok(value)) => Json::from(value),
                _ => Json::Null,
            },
            Kind::Float(value) => Json::from(*value),
            Kind::Boolean(value) => Json::from(*value),
            Kind::Array(items) => items.iter().map(Node::to_json).collect(),
            Kind::Table(entries) => entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect(),
        }
    }

    fn relocate(&mut self, place: &dyn Fn(usize) -> Origin) {
        if let Origin::File { line } = self.origin {
            self.origin = place(line);
        }
        match &mut self.kind {
            Kind::Array(items) => items.iter_mut().for_each(|item| item.relocate(place)),
            Kind::Table(entries) => entries.values_mut().for_each(|item| item.relocate(place)),
            _ => {}
        }
    }
}

/// Parses a file.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Error> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|e| Error::Syntax {
        file: file.to_owned(),
        line: lines.line(&e.span().unwrap_or(0..0)),
        message: e.message().to_owned(),
    })?;
    let kind = convert_table(&lines, table.get_ref());
    Ok(Node { origin: Origin::File { line: 0 }, kind })
}

/// Gives keys with an old name their present one. Returns the keys that have both names, with the place of the old one.
pub(super) fn rename_keys(tree: &mut Node) -> Vec<(Origin, &'static RenamedKey)> {
    let mut doubled = Vec::new();
    for key in &RENAMED {
        let Kind::Table(root) = &mut tree.kind else { continue };
        let Some(Kind::Table(section)) = root.get_mut(key.section).map(|node| &mut node.kind) else {
            continue;
        };
        let Some(value) = section.remove(key.old) else { continue };
        match section.entry(key.new.to_owned()) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(_) => doubled.push((value.origin, key)),
        }
    }
    doubled
}

/// Takes the table `profiles` out of a file's tree, sorted by name.
pub(super) fn take_profiles(tree: &mut Node) -> Result<Vec<(String, Node)>, (Origin, String)> {
    let Kind::Table(entries) = &mut tree.kind else { return Ok(Vec::new()) };
    let Some(profiles) = entries.remove("profiles") else { return Ok(Vec::new()) };
    let found = profiles.describe();
    let Kind::Table(profiles) = profiles.kind else {
        return Err((profiles.origin, format!("expected a table of profiles, found {found}")));
    };
    profiles
        .into_iter()
        .map(|(name, mut profile)| {
            if !matches!(profile.kind, Kind::Table(_)) {
                let message = format!("expected `{name}` to be a table, found {}", profile.describe());
                return Err((profile.origin, message));
            }
            let shared: Rc<str> = name.as_str().into();
            profile.relocate(&|line| Origin::Profile { name: shared.clone(), line });
            Ok((name, profile))
        })
        .collect()
}

/// Parses an override `KEY=VALUE`. VALUE is TOML, or text if it is not valid TOML.
pub(super) fn parse_override(text: &str) -> Option<Node> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let keys = sole_path(&parse("", &format!("{key} = 0")).ok()?)?;
    // A value must not add further keys.
    let assignment = |value: &str| {
        let tree = parse("", &format!("{key} = {value}")).ok()?;
        has_only(&tree, &keys).then_some(tree)
    };
    let mut tree = assignment(value).or_else(|| assignment(&Json::from(value).to_string()))?;
    let shared: Rc<str> = text.into();
    tree.relocate(&|_| Origin::Set { text: shared.clone() });
    Some(tree)
}

/// The path of keys to the only value of a tree.
fn sole_path(tree: &Node) -> Option<Vec<String>> {
    let mut path = Vec::new();
    let mut node = tree;
    while let Kind::Table(entries) = &node.kind {
        let (key, next) = entries.iter().next().filter(|_| entries.len() == 1)?;
        path.push(key.clone());
        node = next;
    }
    Some(path)
}

/// Whether the value at `path` is the only one of the tree.
fn has_only(tree: &Node, path: &[String]) -> bool {
    path.iter()
        .try_fold(tree, |node, key| match &node.kind {
            Kind::Table(entries) if entries.len() == 1 => entries.get(key),
            _ => None,
        })
        .is_some()
}

fn convert(lines: &Lines, value: &DeValue<'_>, span: Range<usize>) -> Node {
    let kind = match value {
        DeValue::String(value) => Kind::Text(value.to_string()),
        DeValue::Integer(value) => {
            // Numbers beyond 128 bits are reported like the largest one.
            let parsed = i128::from_str_radix(&value.as_str().replace('_', ""), value.radix());
            Kind::Integer(parsed.unwrap_or(i128::MAX))
        }
        DeValue::Float(value) => Kind::Float(value.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Kind::Boolean(*value),
        DeValue::Datetime(value) => Kind::Date(value.to_string()),
        DeValue::Array(items) => {
            Kind::Array(items.iter().map(|item| convert(lines, item.get_ref(), item.span())).collect())
        }
        DeValue::Table(table) => convert_table(lines, table),
    };
    Node { origin: Origin::File { line: lines.line(&span) }, kind }
}

fn convert_table(lines: &Lines, table: &DeTable<'_>) -> Kind {
    let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        (key.get_ref().to_string(), convert(lines, value.get_ref(), key.span()))
    };
    Kind::Table(table.iter().map(entry).collect())
}

/// The line ends of a text, by which the line of a position is found quickly.
struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Lines {
        Lines { ends: text.bytes().enumerate().filter_map(|(at, b)| (b == b'\n').then_some(at)).collect() }
    }

    /// The one-based line in which `span` starts.
    fn line(&self, span: &Range<usize>) -> usize {
        self.ends.partition_point(|&end| end < span.start) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let text = "a\n\nbc\n";
        let lines = Lines::new(text);
        let found: Vec<usize> = (0..=text.len() + 1).map(|at| lines.line(&(at..at))).collect();
        assert_eq!(found, [1, 1, 2, 3, 3, 3, 4, 4]);
        assert_eq!(Lines::new("").line(&(0..0)), 1);
    }
}
