//! The public surface: signatures without `bool` parameters and tuples, and the dependencies that the README shows.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// Pairs that are the form of the ecosystem (items of a map, HTTP headers, the halves of a stream) or of a serialized map.
const PAIRS: &[&str] = &[
    "agent-core/src/interrupt/answer.rs: each",
    "agent-core/src/model/request.rs: headers",
    "agent-core/src/state/field.rs: some",
    "agent-tools/src/http/webhook_client.rs: post",
    "agent-tools/src/mcp/client/mod.rs: stream",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All source files below a folder of the repository.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// Public functions and fields with a tuple, and functions with a `bool` parameter.
struct Signatures {
    file: String,
    found: BTreeSet<String>,
}

/// Whether a type, or one inside of it, is a tuple.
struct Tuples(bool);

impl<'a> Visit<'a> for Tuples {
    fn visit_type_tuple(&mut self, tuple: &'a syn::TypeTuple) {
        self.0 |= tuple.elems.len() > 1;
        visit::visit_type_tuple(self, tuple);
    }
}

impl Signatures {
    fn check(&mut self, visibility: &syn::Visibility, signature: &syn::Signature) {
        let is_bool = |input: &syn::FnArg| match input {
            syn::FnArg::Typed(input) => {
                matches!(&*input.ty, syn::Type::Path(path) if path.path.is_ident("bool"))
            }
            syn::FnArg::Receiver(_) => false,
        };
        let mut tuples = Tuples(false);
        tuples.visit_signature(signature);
        if matches!(visibility, syn::Visibility::Public(_))
            && (tuples.0 || signature.inputs.iter().any(is_bool))
        {
            self.found.insert(format!("{}: {}", self.file, signature.ident));
        }
    }
}

impl<'a> Visit<'a> for Signatures {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.check(&function.vis, &function.sig);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.check(&function.vis, &function.sig);
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        let mut tuples = Tuples(false);
        tuples.visit_type(&field.ty);
        if let (syn::Visibility::Public(_), Some(name), true) = (&field.vis, &field.ident, tuples.0) {
            self.found.insert(format!("{}: {name}", self.file));
        }
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }
}

#[test]
fn public_signatures_have_no_bool_parameters_and_no_tuples() {
    let mut found = BTreeSet::new();
    for folder in ["agent-core/src", "agent-tools/src", "agent-postgres/src", "agent-server/src"] {
        for path in sources(folder) {
            let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let mut signatures = Signatures { file, found: BTreeSet::new() };
            signatures.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
            found.extend(signatures.found);
        }
    }
    let allowed: BTreeSet<String> = PAIRS.iter().map(|&pair| pair.to_owned()).collect();
    assert_eq!(
        found, allowed,
        "use a struct or an enum with names, or remove an exception that is not needed"
    );
}

#[test]
fn the_readme_shows_the_dependencies_of_a_minimal_build() {
    let manifest = fs::read_to_string(root().join("agent-core/Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let required: BTreeSet<&str> = dependencies
        .lines()
        .filter(|line| !line.contains("optional = true"))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .collect();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let tree = readme.split("$ cargo tree -p agent-core --no-default-features").nth(1).expect("the command");
    let shown: BTreeSet<&str> = tree
        .split("```")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.trim_start_matches(['├', '└', '─', ' ']).split_once(" v"))
        .map(|(name, _)| name)
        .filter(|name| *name != "agent-core")
        .collect();
    assert_eq!(shown, required, "run the command of the README again");
}
