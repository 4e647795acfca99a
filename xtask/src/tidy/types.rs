//! Finds public types with the same name in two places.

use super::source::{Source, for_tests};
use std::collections::BTreeMap;
use syn::{Item, Visibility};

/// Every crate has an `Error`; all other public names are unique in the workspace.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.production) {
        names(&source.parsed.items, &mut |name| places.entry(name).or_default().push(&source.name));
    }
    let several = places.into_iter().filter(|(name, at)| name != "Error" && at.len() > 1);
    several.map(|(name, at)| format!("`{name}`: {}", at.join(", "))).collect()
}

fn names(items: &[Item], found: &mut dyn FnMut(String)) {
    for item in items {
        let (visibility, name, attributes) = match item {
            Item::Struct(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Enum(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Trait(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Type(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Union(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Mod(module) => {
                if let (Some((_, inside)), false) = (&module.content, for_tests(&module.attrs)) {
                    names(inside, found);
                }
                continue;
            }
            _ => continue,
        };
        // Two definitions under opposite conditions are one name, and so is what crates keep to themselves.
        let alternative = attributes.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if matches!(visibility, Visibility::Public(_)) && !alternative {
            found(name.to_string());
        }
    }
}
