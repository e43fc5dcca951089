//! Architecture rules: module order of the core and the server, file headers, file sizes.
//!
//! Each rule has a list of exceptions that exist today. The lists only shrink: an exception that is no longer needed
//! fails the test, and so does a new violation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// First-level modules of `agent-core`, lowest first. A module may import only modules that are listed before it.
///
/// The modules of one row may import each other. Names of the target layout are included.
const CORE: &[&[&str]] = &[
    &["util"],
    &["clock"],
    &["retry"],
    &["error"],
    &["compute"],
    &["json"],
    &["validation"],
    &["ids"],
    &["interrupt"],
    &["secret"],
    &["model"],
    &["state"],
    &["run"],
    &["todo"],
    &["journal"],
    &["event"],
    &["memory"],
    &["task_group"],
    &["telemetry"],
    &["tool"],
    &["graph", "engine"],
    &["agent"],
    &["sqlite"],
    &["session"],
    &["schedule"],
    &["testing"],
    &["guide"],
];

/// Imports of `agent-core` against the order that exist today: `(importing module, imported module)`.
const CORE_EXCEPTIONS: &[(&str, &str)] = &[];

/// First-level modules of `agent-server`, lowest first.
const SERVER: &[&[&str]] = &[
    &["fail_points"],
    &["spelling"],
    &["error"],
    &["session_title"],
    &["derived"],
    &["tls"],
    &["auth"],
    &["metrics"],
    &["otlp"],
    &["http"],
    &["options"],
    &["limits"],
    &["run_progress"],
    &["webhook"],
    &["readiness"],
    &["journal_observer"],
    // An agent may say that it is an assistant, and an assistant is an agent.
    &["task_agent", "assistant"],
    &["agents"],
    &["chat_endpoint"],
    &["raw_calls"],
    &["conversation"],
    &["ephemeral_session"],
    &["mcp"],
    &["api"],
    &["fanout"],
    &["app"],
    &["docs"],
    &["dashboard"],
    &["handler"],
    &["custom_routes"],
    &["server"],
    &["demo"],
    &["config"],
    &["cli"],
];

/// Imports of `agent-server` against the order that exist today.
const SERVER_EXCEPTIONS: &[(&str, &str)] = &[];

/// Source files that do not begin with `//!`.
const WITHOUT_HEADER: &[&str] = &[];

/// Files with more than [`MOST_LINES`] lines beside their documentation.
const LONG: &[&str] = &[];

/// Conformance suites may have any length: they are lists of independent tests.
const SUITES: &[&str] = &["agent-core/src/journal/conformance.rs", "agent-core/src/memory/conformance.rs"];

const MOST_LINES: usize = 500;

/// Folders that are checked.
const FOLDERS: &[&str] = &[
    "agent-core/src",
    "agent-core/macros/src",
    "agent-core/tests",
    "agent-tools/src",
    "agent-tools/tests",
    "agent-postgres",
    "agent-server/src",
    "agent-server/tests",
    "examples",
    "benches",
    "tests",
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Files below `folder` with one of the extensions, as paths relative to the repository, sorted.
pub(crate) fn files(folder: &str, extensions: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", "node_modules", "fixtures"].contains(&name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| extensions.iter().any(|known| end == *known)) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// Collects the first-level modules that a file names.
struct Imports<'a> {
    /// Module path of the file inside its crate.
    module: Vec<String>,
    /// Module of each name that the crate root exports.
    exported: &'a BTreeMap<String, String>,
    /// First-level modules.
    modules: &'a BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Imports<'_> {
    /// Notes the module that a path of these segments leads to, if it begins inside the crate.
    fn note(&mut self, segments: &[String]) {
        let Some(first) = segments.first() else { return };
        let mut full = match first.as_str() {
            "crate" | "agent_core" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            _ => return,
        };
        for segment in &segments[1..] {
            match segment.as_str() {
                "super" => drop(full.pop()),
                "self" => {}
                name => full.push(name.to_owned()),
            }
        }
        let Some(first) = full.first() else { return };
        if self.modules.contains(first) {
            self.found.insert(first.clone());
        } else if let Some(module) = self.exported.get(first) {
            self.found.insert(module.clone());
        }
    }

    fn note_tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(before, tree);
                }
            }
            syn::UseTree::Name(name) => self.note(&with(before, name.ident.to_string())),
            syn::UseTree::Rename(name) => self.note(&with(before, name.ident.to_string())),
            syn::UseTree::Glob(_) => self.note(before),
        }
    }
}

fn with(before: &[String], name: String) -> Vec<String> {
    before.iter().cloned().chain([name]).collect()
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) || item.content.is_none() {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }
}

/// Names that `pub use self::{..}` in the crate root takes from modules.
fn exported(file: &syn::File) -> BTreeMap<String, String> {
    fn walk(module: Option<&str>, tree: &syn::UseTree, found: &mut BTreeMap<String, String>) {
        match tree {
            syn::UseTree::Path(path) => {
                let name = path.ident.to_string();
                let module = if name == "self" || name == "crate" { None } else { module.or(Some(&*name)) };
                walk(module, &path.tree, found);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| walk(module, tree, found)),
            syn::UseTree::Name(name) => {
                found.extend(module.map(|module| (name.ident.to_string(), module.to_owned())));
            }
            syn::UseTree::Rename(name) => {
                found.extend(module.map(|module| (name.rename.to_string(), module.to_owned())));
            }
            syn::UseTree::Glob(_) => {}
        }
    }
    let mut found = BTreeMap::new();
    for item in &file.items {
        if let syn::Item::Use(item) = item {
            walk(None, &item.tree, &mut found);
        }
    }
    found
}

/// The files in which one module imports another.
type Edges = BTreeMap<(String, String), Vec<String>>;

/// Every import of one first-level module by another, with the files that have it.
fn imports(source: &str) -> (BTreeSet<String>, Edges) {
    let parse = |file: &str| syn::parse_file(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let all = files(source, &["rs"]);
    let inside = |file: &String| file[source.len() + 1..].trim_end_matches(".rs").to_owned();
    let modules: BTreeSet<String> = all
        .iter()
        .map(|file| inside(file).split('/').next().unwrap().to_owned())
        .filter(|name| name != "lib" && name != "main")
        .collect();
    let exported = exported(&parse(&format!("{source}/lib.rs")));
    let mut edges: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in &all {
        let mut module: Vec<String> = inside(file).split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let own = module[0].clone();
        if own == "lib" || own == "main" {
            continue;
        }
        let mut imports = Imports { module, exported: &exported, modules: &modules, found: BTreeSet::new() };
        imports.visit_file(&parse(file));
        for other in imports.found.into_iter().filter(|other| *other != own) {
            edges.entry((own.clone(), other)).or_default().push(file.clone());
        }
    }
    (modules, edges)
}

fn check_order(source: &str, order: &[&[&str]], exceptions: &[(&str, &str)]) {
    let (modules, edges) = imports(source);
    assert!(!edges.is_empty(), "no import was found in {source}");
    let place = |name: &str| order.iter().position(|row| row.contains(&name));
    let unplaced: Vec<&String> = modules.iter().filter(|name| place(name).is_none()).collect();
    assert!(unplaced.is_empty(), "give these modules of {source} a place in the order: {unplaced:?}");
    let upward: BTreeMap<_, _> = edges.iter().filter(|((from, to), _)| place(from) < place(to)).collect();
    let allowed = |edge: &(String, String)| exceptions.contains(&(&*edge.0, &*edge.1));
    let new: Vec<String> = upward
        .iter()
        .filter(|(edge, _)| !allowed(edge))
        .map(|((from, to), files)| {
            format!("{from} imports {to}, which stands above it: {}", files.join(", "))
        })
        .collect();
    assert!(new.is_empty(), "imports of {source} against the module order:\n{}", new.join("\n"));
    let stale: Vec<_> = exceptions
        .iter()
        .filter(|(from, to)| !upward.contains_key(&((*from).to_owned(), (*to).to_owned())))
        .collect();
    assert!(stale.is_empty(), "remove these exceptions of {source}, nothing needs them any more: {stale:?}");
}

#[test]
fn modules_of_the_core_import_only_modules_below_them() {
    check_order("agent-core/src", CORE, CORE_EXCEPTIONS);
}

#[test]
fn modules_of_the_server_import_only_modules_below_them() {
    check_order("agent-server/src", SERVER, SERVER_EXCEPTIONS);
}

/// Fails with what breaks a rule and is no exception, and with exceptions that nothing needs.
fn check_list(rule: &str, broken: &BTreeSet<String>, exceptions: &[&str]) {
    let new: Vec<&String> = broken.iter().filter(|file| !exceptions.contains(&file.as_str())).collect();
    assert!(new.is_empty(), "{rule}: {new:#?}");
    let stale: Vec<_> = exceptions.iter().filter(|file| !broken.contains(**file)).collect();
    assert!(stale.is_empty(), "{rule}: remove these exceptions, nothing needs them any more: {stale:#?}");
}

fn sources() -> impl Iterator<Item = String> {
    FOLDERS.iter().flat_map(|folder| files(folder, &["rs"]))
}

#[test]
fn every_source_file_begins_with_a_description_of_its_subject() {
    let broken = sources().filter(|file| file.contains("/src/") && !read(file).starts_with("//!"));
    check_list("begin the file with `//!`", &broken.collect(), WITHOUT_HEADER);
}

#[test]
fn no_file_has_more_than_500_lines() {
    // Documentation does not count: examples on items are wanted.
    let is_code = |line: &&str| !["///", "//!"].iter().any(|mark| line.trim_start().starts_with(mark));
    let lines = |file: &String| read(file).lines().filter(is_code).count();
    let broken = sources().filter(|file| !SUITES.contains(&file.as_str()) && lines(file) > MOST_LINES);
    check_list("split the file by subject", &broken.collect(), LONG);
}
