//! Finds import cycles between the files of a crate.
//!
//! An edge leads from a file to each file that defines something the first one names by a path (`crate::`, `super::`,
//! `self::`, or a child module). Re-exports are followed to the definition, so that `crate::Error` leads to the file of
//! the error and not to `lib.rs`. Code for tests does not count.

use super::source::{Source, for_tests};
use std::collections::{BTreeMap, BTreeSet};
use syn::{Item, UseTree, visit::Visit};

type Module = Vec<String>;

/// Finds every group of files that import each other.
pub(crate) fn check(sources: &[Source]) -> Vec<String> {
    let mut packages: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.production) {
        packages.entry(&source.package).or_default().push(source);
    }
    packages.into_values().flat_map(|sources| Package::new(&sources).cycles()).collect()
}

/// The modules of a crate.
struct Package<'a> {
    /// The file of each module; inline modules have that of the module around them.
    files: BTreeMap<Module, &'a str>,
    /// What each module imports: name in the module -> absolute path.
    imports: BTreeMap<Module, BTreeMap<String, Module>>,
    /// Absolute paths that each file names.
    named: BTreeMap<&'a str, BTreeSet<Module>>,
}

impl<'a> Package<'a> {
    fn new(sources: &[&'a Source]) -> Package<'a> {
        let files = sources.iter().map(|source| (source.module.clone(), source.name.as_str())).collect();
        let mut package = Package { files, imports: BTreeMap::new(), named: BTreeMap::new() };
        // Inline modules first: paths are resolved with the set of all modules.
        for source in sources {
            package.inline(&source.parsed.items, &source.module, &source.name);
        }
        for source in sources {
            let mut names =
                Names { package: &mut package, module: source.module.clone(), file: &source.name };
            names.visit_file(&source.parsed);
        }
        package
    }

    fn inline(&mut self, items: &[Item], module: &Module, file: &'a str) {
        for item in items {
            let Item::Mod(inner) = item else { continue };
            let path = [module.as_slice(), &[inner.ident.to_string()]].concat();
            if let (Some((_, items)), false) = (&inner.content, for_tests(&inner.attrs)) {
                self.files.insert(path.clone(), file);
                self.inline(items, &path, file);
            }
        }
    }

    /// The absolute path of one that is written in `module`; `None` if it leads out of the crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut base = module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {}
            child => {
                let inside = [module.as_slice(), &[child.to_owned()]].concat();
                self.files.get(&inside)?;
            }
        }
        while rest.first().is_some_and(|part| part == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        Some([base.as_slice(), rest].concat())
    }

    /// The file that defines what an absolute path names.
    fn definition(&self, path: &Module, depth: usize) -> Option<&'a str> {
        let known = (0..=path.len()).rev().find(|&len| self.files.contains_key(&path[..len]))?;
        let (module, rest) = path.split_at(known);
        let Some(name) = rest.first() else { return self.files.get(module).copied() };
        let imported = self.imports.get(module).and_then(|imports| imports.get(name));
        match imported {
            Some(target) if depth < 16 => {
                self.definition(&[target.as_slice(), &rest[1..]].concat(), depth + 1)
            }
            _ => self.files.get(module).copied(),
        }
    }

    /// The groups of files that can be reached from each other, as findings.
    fn cycles(&self) -> Vec<String> {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (&file, paths) in &self.named {
            let targets = paths.iter().filter_map(|path| self.definition(path, 0)).filter(|&to| to != file);
            edges.entry(file).or_default().extend(targets);
        }
        let reach = |from: &str| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(file) = open.pop() {
                for &next in edges.get(file).into_iter().flatten() {
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|&file| (file, reach(file))).collect();
        let mut groups: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (&file, all) in reached.iter().filter(|(file, all)| all.contains(*file)) {
            let back = |other: &&&str| reached.get(**other).is_some_and(|from| from.contains(file));
            groups.insert(all.iter().filter(back).copied().collect());
        }
        groups.into_iter().map(|group| describe(&group, &edges)).collect()
    }
}

/// A group with its edges, of which some have to go.
fn describe(group: &[&str], edges: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    let short = |file: &str| file.rsplit("src/").next().unwrap_or(file).to_owned();
    let mut lines =
        vec![format!("{} files of {}:", group.len(), group[0].split("/src/").next().unwrap_or_default())];
    for file in group {
        let inside = edges[file].iter().filter(|to| group.contains(to)).map(|to| short(to));
        lines.push(format!("    {} -> {}", short(file), inside.collect::<Vec<_>>().join(", ")));
    }
    lines.join("\n")
}

/// Collects the paths of a file.
struct Names<'p, 'a> {
    package: &'p mut Package<'a>,
    module: Module,
    file: &'a str,
}

impl Names<'_, '_> {
    fn name(&mut self, path: &[String]) {
        if let Some(path) = self.package.absolute(&self.module, path) {
            self.package.named.entry(self.file).or_default().insert(path);
        }
    }

    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let and = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &and(&path.ident)),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before)),
            UseTree::Glob(_) => self.name(before),
            UseTree::Name(name) if name.ident == "self" => self.bind(before.last().cloned(), before),
            UseTree::Name(name) => self.bind(Some(name.ident.to_string()), &and(&name.ident)),
            UseTree::Rename(rename) => self.bind(Some(rename.rename.to_string()), &and(&rename.ident)),
        }
    }

    fn bind(&mut self, name: Option<String>, path: &[String]) {
        if let (Some(name), Some(target)) = (name, self.package.absolute(&self.module, path)) {
            self.package.imports.entry(self.module.clone()).or_default().insert(name, target);
        }
        // A re-export of a child is what modules are for; its users depend on the child.
        self.name(path);
    }
}

impl<'ast> Visit<'ast> for Names<'_, '_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if for_tests(&item.attrs) {
            return;
        }
        if matches!(item.vis, syn::Visibility::Inherited) {
            self.import(&item.tree, &[]);
        } else {
            let named = self.package.named.get(self.file).cloned();
            self.import(&item.tree, &[]);
            // Only the binding of a re-export counts, and not the dependency.
            match named {
                Some(named) => self.package.named.insert(self.file, named),
                None => self.package.named.remove(self.file),
            };
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if for_tests(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !for_tests(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !for_tests(&item.attrs) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.name(&parts);
        }
        syn::visit::visit_path(self, path);
    }
}
