//! Parsing of the input: fields, reducers and serde names, or an error at the invalid token.

use syn::{
    Attribute, Data, DeriveInput, Error, Field, Fields, GenericArgument, GenericParam, Ident, LitInt, LitStr,
    Path, PathArguments, Result, Token, Type, ext::IdentExt, meta::ParseNestedMeta, parse::ParseStream,
    spanned::Spanned,
};

pub(crate) struct Model<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) version: u32,
    pub(crate) migrate: Option<Path>,
    pub(crate) migrate_update: Option<Path>,
    pub(crate) fields: Vec<Slot<'a>>,
}

/// Keys of an update that are not fields.
pub(crate) const RESERVED: [&str; 2] = ["$overwrite", "$some"];

/// A name for writing and one for reading.
type Names = (Option<String>, Option<String>);

/// One field.
pub(crate) struct Slot<'a> {
    pub(crate) ident: &'a Ident,
    /// The Rust name without `r#`: what claims and errors say.
    pub(crate) name: String,
    pub(crate) field: &'a Field,
    pub(crate) reducer: Reducer,
    /// Its key in JSON, as written, and as read.
    pub(crate) written: String,
    pub(crate) read: String,
    pub(crate) aliases: Vec<String>,
}

pub(crate) enum Reducer {
    Replace,
    Append,
    Extend,
    Add,
    Max,
    Min,
    Merge,
    Messages,
    Untracked,
    Custom(Path),
}

const REDUCERS: &str = "one of `append`, `extend`, `add`, `max`, `min`, `merge`, `messages`, `untracked`, \
                        `reduce = path::to::fn`";
const OPTIONS: &str = "`version = 2`, `migrate = path::to::fn`, `migrate_update = path::to::fn`";

pub(crate) fn parse(input: &DeriveInput) -> Result<Model<'_>> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => {
                return Err(Error::new(
                    input.ident.span(),
                    "a state has named fields: `struct S { brand: String }`",
                ));
            }
        },
        _ => {
            return Err(Error::new(
                input.ident.span(),
                "a state is a struct with named fields; put an enum into one of them",
            ));
        }
    };
    if let Some(GenericParam::Lifetime(lifetime)) =
        input.generics.params.iter().find(|param| matches!(param, GenericParam::Lifetime(_)))
    {
        return Err(Error::new(
            lifetime.span(),
            "a state owns its data: it is stored and outlives every borrow",
        ));
    }

    let mut faults: Option<Error> = None;
    let mut blame = |error: Error| match &mut faults {
        Some(faults) => faults.combine(error),
        None => faults = Some(error),
    };

    let mut model = Model {
        input,
        version: 1,
        migrate: None,
        migrate_update: None,
        fields: Vec::with_capacity(fields.len()),
    };
    let rules = container(input, &mut model).unwrap_or_else(|error| {
        blame(error);
        (None, None)
    });
    for field in fields {
        match slot(field, &rules) {
            Ok(slot) => model.fields.push(slot),
            Err(error) => blame(error),
        }
    }
    for slot in &model.fields {
        // The methods of the update: one for each field, `overwrite_..`, `is_empty`.
        if slot.name == "is_empty" {
            blame(Error::new(
                slot.ident.span(),
                "`is_empty` is a method of the update; call the field something else",
            ));
        }
        if let Some(other) = slot.name.strip_prefix("overwrite_")
            && model.fields.iter().any(|field| field.name == other && field.reducer.is_reducing())
        {
            blame(Error::new(
                slot.ident.span(),
                format!(
                    "the update has a method `overwrite_{other}` for the field `{other}`; rename one of the two"
                ),
            ));
        }
    }
    match faults {
        Some(faults) => Err(faults),
        None => Ok(model),
    }
}

/// Reads the attributes of the struct. Returns the rules for the names of fields.
fn container(input: &DeriveInput, model: &mut Model<'_>) -> Result<Names> {
    let mut rules = (None, None);
    let mut migrate_at = None;
    let mut version_at = None;
    for attribute in of(&input.attrs, "state") {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("version") {
                let literal: LitInt = meta.value()?.parse()?;
                model.version = literal
                    .base10_parse::<u32>()
                    .ok()
                    .filter(|version| *version > 0)
                    .ok_or_else(|| Error::new(literal.span(), "a version is a whole number from 1 on"))?;
                version_at = Some(literal.span());
            } else if meta.path.is_ident("migrate") {
                model.migrate = Some(meta.value()?.parse()?);
                migrate_at = Some(meta.path.span());
            } else if meta.path.is_ident("migrate_update") {
                model.migrate_update = Some(meta.value()?.parse()?);
                migrate_at = Some(meta.path.span());
            } else {
                return Err(meta.error(format!("unknown option of a state; allowed: {OPTIONS}")));
            }
            Ok(())
        })?;
    }
    if let (Some(at), 1) = (migrate_at, model.version) {
        return Err(Error::new(
            version_at.unwrap_or(at),
            "version 1 has nothing to migrate from; write `version = 2` or higher",
        ));
    }
    for attribute in of(&input.attrs, "serde") {
        attribute.parse_nested_meta(|meta| {
            let entry = rest(&meta)?;
            if meta.path.is_ident("rename_all") {
                rules = renames(entry)?;
            } else if ["transparent", "tag", "untagged", "from", "try_from", "into"]
                .iter()
                .any(|name| meta.path.is_ident(name))
            {
                return Err(meta.error("a state is stored as a plain object of its fields; remove this"));
            }
            Ok(())
        })?;
    }
    Ok(rules)
}

fn slot<'a>(field: &'a Field, rules: &Names) -> Result<Slot<'a>> {
    let ident = field.ident.as_ref().ok_or_else(|| Error::new(field.span(), "a state has named fields"))?;
    let mut reducer = None;
    for attribute in of(&field.attrs, "state") {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let found = match name.as_str() {
                "append" => Reducer::Append,
                "extend" => Reducer::Extend,
                "add" => Reducer::Add,
                "max" => Reducer::Max,
                "min" => Reducer::Min,
                "merge" => Reducer::Merge,
                "messages" => Reducer::Messages,
                "untracked" => Reducer::Untracked,
                "reduce" => Reducer::Custom(meta.value()?.parse()?),
                "version" | "migrate" | "migrate_update" => {
                    return Err(
                        meta.error(format!("`{name}` belongs on the struct; a field takes {REDUCERS}"))
                    );
                }
                _ => return Err(meta.error(format!("unknown reducer; write {REDUCERS}"))),
            };
            if reducer.replace(found).is_some() {
                return Err(meta.error("a field has one reducer"));
            }
            Ok(())
        })?;
    }
    let reducer = reducer.unwrap_or(Reducer::Replace);
    if matches!(reducer, Reducer::Append | Reducer::Messages)
        && matches!(&field.ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| {
            ["Option", "String", "HashSet", "BTreeSet", "VecDeque", "HashMap", "BTreeMap"].iter().any(|name| last.ident == name)
        }))
    {
        return Err(Error::new(
            field.ty.span(),
            "this reducer is for `Vec<T>`; for other collections write `extend` or `merge`",
        ));
    }

    let mut skipped = false;
    let (mut own, mut aliases) = ((None, None), Vec::new());
    for attribute in of(&field.attrs, "serde") {
        attribute.parse_nested_meta(|meta| {
            let entry = rest(&meta)?;
            let path = &meta.path;
            let is = |names: &[&str]| names.iter().any(|name| path.is_ident(name));
            if is(&["skip"]) {
                skipped = true;
                if !matches!(reducer, Reducer::Untracked) {
                    return Err(meta.error(
                        "a field that serde skips would be lost on resume; write `#[state(untracked)]` with it if \
                         that is meant",
                    ));
                }
            } else if is(&["skip_serializing", "skip_deserializing"]) {
                return Err(meta.error(
                    "a field is stored or it is not: remove this, or write `#[serde(skip)]` and `#[state(untracked)]`",
                ));
            } else if is(&["flatten"]) {
                return Err(meta.error("the fields of a state need names, because an update names the fields that it sets"));
            } else if is(&["with", "serialize_with", "deserialize_with"]) {
                return Err(meta.error(
                    "the update stores this field too and does not know this function; put the value into a \
                     separate type that implements `Serialize` and `Deserialize`",
                ));
            } else if is(&["rename"]) {
                let (written, read) = renames(entry)?;
                own = (written.or(own.0.take()), read.or(own.1.take()));
            } else if is(&["alias"]) {
                aliases.extend(renames(entry)?.1);
            }
            Ok(())
        })?;
    }
    if matches!(reducer, Reducer::Untracked) && !skipped {
        return Err(Error::new(
            ident.span(),
            "an untracked field is never stored: write `#[serde(skip)]` on it as well",
        ));
    }
    let name = ident.unraw().to_string();
    let by_rule =
        |rule: &Option<String>| rule.as_ref().map_or_else(|| name.clone(), |rule| renamed(&name, rule));
    let written = own.0.unwrap_or_else(|| by_rule(&rules.0));
    let read = own.1.unwrap_or_else(|| by_rule(&rules.1));
    if RESERVED.iter().any(|key| written == *key || read == *key || aliases.iter().any(|alias| alias == key))
    {
        return Err(Error::new(
            ident.span(),
            format!(
                "`{}` and `{}` are keys of the update itself; rename the field",
                RESERVED[0], RESERVED[1]
            ),
        ));
    }
    Ok(Slot { ident, name, field, reducer, written, read, aliases })
}

/// The names in `= "name"` or `(serialize = "name", deserialize = "name")`.
fn renames(entry: proc_macro2::TokenStream) -> Result<Names> {
    let parser = |input: ParseStream<'_>| {
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            let name = input.parse::<LitStr>()?.value();
            return Ok((Some(name.clone()), Some(name)));
        }
        let mut names = (None, None);
        let inside;
        syn::parenthesized!(inside in input);
        while !inside.is_empty() {
            let side: Ident = inside.parse()?;
            inside.parse::<Token![=]>()?;
            let name = inside.parse::<LitStr>()?.value();
            if side == "serialize" {
                names.0 = Some(name);
            } else {
                names.1 = Some(name);
            }
            if !inside.is_empty() {
                inside.parse::<Token![,]>()?;
            }
        }
        Ok(names)
    };
    syn::parse::Parser::parse2(parser, entry)
}

/// The name of a field under a rule of `rename_all`, as serde makes it. An unknown rule is serde's to report.
fn renamed(name: &str, rule: &str) -> String {
    let pascal = || {
        let words = name.split('_').filter(|word| !word.is_empty());
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        };
        words.map(capital).collect::<String>()
    };
    match rule {
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => name.to_ascii_uppercase(),
        "PascalCase" => pascal(),
        "camelCase" => {
            let pascal = pascal();
            let mut letters = pascal.chars();
            letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
        }
        "kebab-case" => name.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => name.to_ascii_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

fn of<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = &'a Attribute> {
    attributes.iter().filter(move |attribute| attribute.path().is_ident(name))
}

/// Everything of this entry after its name: `= ".."`, `(..)` or nothing.
fn rest(meta: &ParseNestedMeta<'_>) -> Result<proc_macro2::TokenStream> {
    let mut tokens = Vec::new();
    while !meta.input.is_empty() && !meta.input.peek(syn::Token![,]) {
        tokens.push(meta.input.parse::<proc_macro2::TokenTree>()?);
    }
    Ok(tokens.into_iter().collect())
}

impl Reducer {
    /// Returns whether the update holds a `Write<T>`.
    pub(crate) fn is_reducing(&self) -> bool {
        !matches!(self, Self::Replace | Self::Untracked)
    }
}

/// `T` of a type written `Name<T>`.
pub(crate) fn inner<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| path.qself.is_none() && last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match (arguments.args.len(), arguments.args.first()) {
        (1, Some(GenericArgument::Type(ty))) => Some(ty),
        _ => None,
    }
}

/// Returns whether a type is written as one of these names, without arguments.
pub(crate) fn is_named(ty: &Type, names: &[&str]) -> bool {
    matches!(ty, Type::Path(path) if path.qself.is_none() && path.path.segments.last().is_some_and(
        |last| last.arguments.is_empty() && names.iter().any(|name| last.ident == name)
    ))
}
