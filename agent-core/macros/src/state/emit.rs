//! What is written: the update, its builder and the impls.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{GenericParam, Ident, Type, WherePredicate, parse_quote, spanned::Spanned, visit::Visit};

use super::parse::{Model, Reducer, Slot, inner, is_named};

/// Literals of these have no `Into` that the compiler can choose, so their setters take the type itself.
const PLAIN: [&str; 16] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
    "bool", "char",
];

pub(crate) fn emit(model: &Model<'_>) -> TokenStream {
    let name = &model.input.ident;
    let update = format_ident!("{}Update", name);
    [
        update_struct(model, &update),
        stored(model, &update),
        builder(model, &update),
        state_impl(model, &update),
        conversions(model, &update),
    ]
    .into_iter()
    .collect()
}

fn update_struct(model: &Model<'_>, update: &Ident) -> TokenStream {
    let (vis, generics, name) = (&model.input.vis, &model.input.generics, &model.input.ident);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();

    let fields = model.fields.iter().map(|slot| {
        let (ident, vis, ty) = (slot.ident, &slot.field.vis, &slot.field.ty);
        let doc = format!("What becomes of `{}`; `None` leaves it as it is.", slot.name);
        let ty = if slot.reducer.is_reducing() {
            quote!(::core::option::Option<::agent_core::state::Write<#ty>>)
        } else {
            quote!(::core::option::Option<#ty>)
        };
        quote! {
            #[doc = #doc]
            #vis #ident: #ty,
        }
    });

    let (marker, marker_init) = marker(model);
    let idents: Vec<&Ident> = model.fields.iter().map(|slot| slot.ident).collect();
    let names: Vec<&str> = model.fields.iter().map(|slot| slot.name.as_str()).collect();
    let doc = format!("What one node changes of a [`{name}`]; begin with `{name}::update()`.");
    let text = update.to_string();

    quote! {
        #[doc = #doc]
        #[must_use = "an update changes nothing until a node returns it"]
        #vis struct #update #generics #where_clause {
            #(#fields)*
            #marker
        }

        #[automatically_derived]
        impl #impl_generics ::core::default::Default for #update #ty_generics #where_clause {
            fn default() -> Self {
                Self { #(#idents: ::core::option::Option::None,)* #marker_init }
            }
        }

        // The names of what is set, without the values: those are the author's data.
        #[automatically_derived]
        impl #impl_generics ::core::fmt::Debug for #update #ty_generics #where_clause {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(#text)?;
                let mut set = f.debug_set();
                #(if self.#idents.is_some() { set.entry(&::core::format_args!(#names)); })*
                set.finish()
            }
        }
    }
}

/// The field that mentions the type parameters, and its value.
fn marker(model: &Model<'_>) -> (Option<TokenStream>, Option<TokenStream>) {
    let params: Vec<&Ident> = model.input.generics.type_params().map(|param| &param.ident).collect();
    if params.is_empty() {
        return (None, None);
    }
    let field = quote! {
        #[doc(hidden)]
        __state: ::core::marker::PhantomData<fn() -> (#(#params,)*)>,
    };
    (Some(field), Some(quote!(__state: ::core::marker::PhantomData,)))
}

/// How an update is written and read: an object of the fields that are set, each with its plain value. What plain
/// JSON cannot express stands beside the fields, where no value of a field can stand: `$overwrite` has the names of
/// the fields that bypass their reducer, `$some` those whose nested option is `Some(None)`.
fn stored(model: &Model<'_>, update: &Ident) -> TokenStream {
    let stored: Vec<&Slot<'_>> =
        model.fields.iter().filter(|slot| !matches!(slot.reducer, Reducer::Untracked)).collect();
    let serialize = serialize(model, update, &stored);
    let deserialize = deserialize(model, update, &stored);
    quote!(#serialize #deserialize)
}

/// How many `Option`s stand around the innermost type of a field that is replaced.
fn nesting(slot: &Slot<'_>) -> usize {
    if slot.reducer.is_reducing() {
        return 0;
    }
    let (mut levels, mut ty) = (0, &slot.field.ty);
    while let Some(within) = inner(ty, "Option") {
        (levels, ty) = (levels + 1, within);
    }
    levels
}

/// `Some(..Some(None))` with so many `Some`s.
fn somes(count: usize) -> TokenStream {
    (0..count)
        .fold(quote!(::core::option::Option::None), |value, _| quote!(::core::option::Option::Some(#value)))
}

fn serialize(model: &Model<'_>, update: &Ident, stored: &[&Slot<'_>]) -> TokenStream {
    let (impl_generics, ty_generics, _) = model.input.generics.split_for_impl();
    let bounds = stored.iter().filter(|slot| is_generic(model, &slot.field.ty)).map(|slot| {
        let ty = &slot.field.ty;
        parse_quote!(#ty: ::agent_core::state::field::serde::Serialize)
    });
    let bounded = bounded(model, bounds.collect());
    let bounded = &bounded.where_clause;
    let text = update.to_string();
    let idents: Vec<&Ident> = stored.iter().map(|slot| slot.ident).collect();
    let overwritten = stored.iter().filter(|slot| slot.reducer.is_reducing()).map(|slot| {
        let (ident, key) = (slot.ident, &slot.written);
        quote! {
            if let ::core::option::Option::Some(::agent_core::state::Write::Overwrite(_)) = &self.#ident {
                marks.overwrite.push(#key);
            }
        }
    });
    let nested = stored.iter().filter(|slot| nesting(slot) > 1).flat_map(|slot| {
        (1..nesting(slot)).map(|count| {
            let (ident, key, pattern) = (slot.ident, &slot.written, somes(count + 1));
            quote! {
                if let #pattern = &self.#ident {
                    marks.some.push((#key, #count));
                }
            }
        })
    });
    let writes = stored.iter().map(|slot| {
        let (ident, key) = (slot.ident, &slot.written);
        let value = if slot.reducer.is_reducing() {
            quote!(::agent_core::state::field::value(value))
        } else {
            quote!(value)
        };
        let at = place(&slot.field.ty);
        quote_spanned! {at=>
            match &self.#ident {
                ::core::option::Option::Some(value) => {
                    ::agent_core::state::field::serde::ser::SerializeStruct::serialize_field(&mut fields, #key, #value)?;
                }
                ::core::option::Option::None => {
                    ::agent_core::state::field::serde::ser::SerializeStruct::skip_field(&mut fields, #key)?;
                }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::agent_core::state::field::serde::Serialize for #update #ty_generics #bounded {
            #[allow(unused_mut, reason = "a state may have no field that needs a mark")]
            fn serialize<__S: ::agent_core::state::field::serde::Serializer>(
                &self,
                serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                let mut marks = ::agent_core::state::field::Marks::default();
                #(#overwritten)*
                #(#nested)*
                let len = marks.len() #(+ ::core::primitive::usize::from(self.#idents.is_some()))*;
                let mut fields = ::agent_core::state::field::serde::Serializer::serialize_struct(serializer, #text, len)?;
                #(#writes)*
                marks.write(fields)
            }
        }
    }
}

fn deserialize(model: &Model<'_>, update: &Ident, stored: &[&Slot<'_>]) -> TokenStream {
    let generics = &model.input.generics;
    let (_, ty_generics, where_clause) = generics.split_for_impl();
    // `present` hides the field types from serde's own search for bounds.
    let types: Vec<&Type> =
        stored.iter().filter(|slot| is_generic(model, &slot.field.ty)).map(|slot| &slot.field.ty).collect();
    let bounds =
        types.iter().map(|ty| parse_quote!(#ty: ::agent_core::state::field::serde::de::DeserializeOwned));
    let mut bounded = bounded(model, bounds.collect());
    bounded.params.insert(0, parse_quote!('de));
    let (impl_generics, _, bounded) = bounded.split_for_impl();
    let bound = quote!(#(#types: ::agent_core::state::field::serde::de::DeserializeOwned),*).to_string();
    let text = update.to_string();
    let (marker, marker_init) = marker(model);
    let marker = marker.map(|marker| quote!(#[serde(skip)] #marker));

    let fields = stored.iter().map(|slot| {
        let (ident, ty, key, aliases) = (slot.ident, &slot.field.ty, &slot.read, &slot.aliases);
        quote! {
            #[serde(
                default,
                rename = #key,
                #(alias = #aliases,)*
                deserialize_with = "::agent_core::state::field::present"
            )]
            #ident: ::core::option::Option<#ty>,
        }
    });
    let reducing: Vec<&&Slot<'_>> = stored.iter().filter(|slot| slot.reducer.is_reducing()).collect();
    let overwrite = (!reducing.is_empty()).then(|| {
        quote! {
            #[serde(default, rename = "$overwrite")]
            __overwrite: ::agent_core::state::field::Names,
        }
    });
    let overwrites = (!reducing.is_empty()).then(|| {
        let arms = reducing.iter().map(|slot| {
            let (ident, key, aliases) = (slot.ident, &slot.read, &slot.aliases);
            quote!(#key #(| #aliases)* => ::agent_core::state::field::overwrite(&mut update.#ident),)
        });
        quote! {
            for name in fields.__overwrite {
                let known = match name.as_str() {
                    #(#arms)*
                    _ => false,
                };
                if !known {
                    return ::core::result::Result::Err(::agent_core::state::field::unset("$overwrite", &name));
                }
            }
        }
    });
    let nested: Vec<&&Slot<'_>> = stored.iter().filter(|slot| nesting(slot) > 1).collect();
    let some = (!nested.is_empty()).then(|| {
        quote! {
            #[serde(default, rename = "$some")]
            __some: ::agent_core::state::field::Counts,
        }
    });
    let restored = (!nested.is_empty()).then(|| {
        let arms = nested.iter().flat_map(|slot| {
            (1..nesting(slot)).map(|count| {
                let (ident, key, aliases, value) = (slot.ident, &slot.read, &slot.aliases, somes(count + 1));
                quote!((#key #(| #aliases)*, #count) => update.#ident = #value,)
            })
        });
        quote! {
            for (name, count) in fields.__some {
                match (name.as_str(), count) {
                    #(#arms)*
                    _ => return ::core::result::Result::Err(::agent_core::state::field::unset("$some", &name)),
                }
            }
        }
    });
    let inits = model.fields.iter().map(|slot| {
        let ident = slot.ident;
        match &slot.reducer {
            Reducer::Untracked => quote!(#ident: ::core::option::Option::None,),
            reducer if reducer.is_reducing() => {
                quote!(#ident: fields.#ident.map(::agent_core::state::Write::Reduce),)
            }
            _ => quote!(#ident: fields.#ident,),
        }
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics ::agent_core::state::field::serde::Deserialize<'de> for #update #ty_generics #bounded {
            #[allow(unused_mut, unused_variables, reason = "a state may have no fields")]
            fn deserialize<__D: ::agent_core::state::field::serde::Deserializer<'de>>(
                deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                #[derive(::agent_core::state::field::serde::Deserialize)]
                #[serde(
                    crate = "::agent_core::state::field::serde",
                    rename = #text,
                    deny_unknown_fields,
                    bound(deserialize = #bound)
                )]
                struct __Fields #generics #where_clause {
                    #(#fields)*
                    #overwrite
                    #some
                    #marker
                }
                let fields: __Fields #ty_generics =
                    ::agent_core::state::field::serde::Deserialize::deserialize(deserializer)?;
                let mut update = Self { #(#inits)* #marker_init };
                #overwrites
                #restored
                ::core::result::Result::Ok(update)
            }
        }
    }
}

fn builder(model: &Model<'_>, update: &Ident) -> TokenStream {
    let (vis, name) = (&model.input.vis, &model.input.ident);
    let (impl_generics, ty_generics, where_clause) = model.input.generics.split_for_impl();
    let bounded = bounded(model, reducer_bounds(model));
    let bounded = &bounded.where_clause;
    let setters = model.fields.iter().map(|slot| setter(vis, slot));
    let idents = model.fields.iter().map(|slot| slot.ident);
    quote! {
        #[automatically_derived]
        #[allow(dead_code, reason = "a state need not use every setter")]
        impl #impl_generics #name #ty_generics #where_clause {
            /// An update that changes nothing yet.
            #vis fn update() -> #update #ty_generics {
                ::core::default::Default::default()
            }
        }

        #[automatically_derived]
        #[allow(dead_code, reason = "a state need not use every setter")]
        impl #impl_generics #update #ty_generics #bounded {
            #(#setters)*

            /// Whether this update changes nothing.
            #[must_use]
            #vis fn is_empty(&self) -> bool {
                true #(&& self.#idents.is_none())*
            }
        }
    }
}

/// The setter of one field, and its `overwrite_` where there is a reducer.
fn setter(vis: &syn::Visibility, slot: &Slot<'_>) -> TokenStream {
    let (ident, ty, name) = (slot.ident, &slot.field.ty, &slot.name);
    let docs = slot.field.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let docs: Vec<_> = docs.collect();
    let (argument, value) = argument(ty);
    let at = place(ty);
    let reduce = quote_spanned!(at=> ::agent_core::state::reduce);
    let combine = quote!(::agent_core::state::field::combine);
    // A closure, because a missing bound of a path is reported on the derive, and of a call on the field.
    let calling = |path: &TokenStream| quote_spanned!(at=> |held, value| #reduce::#path(held, value));

    let (what, argument_in, body) = match &slot.reducer {
        Reducer::Replace | Reducer::Untracked => (
            format!("Sets `{name}`."),
            argument.clone(),
            quote!(self.#ident = ::core::option::Option::Some(#value);),
        ),
        Reducer::Append | Reducer::Messages => {
            let what = match slot.reducer {
                Reducer::Append => format!("Appends to `{name}`; called twice, appends both."),
                _ => format!("Adds to `{name}`; an item with a key that is there replaces that one."),
            };
            let path = if matches!(slot.reducer, Reducer::Append) {
                quote_spanned!(at=> append)
            } else {
                quote_spanned!(at=> messages)
            };
            let (items, map) = items(ty);
            (what, items, {
                let reducer = calling(&path);
                quote!(#combine(&mut self.#ident, value.into_iter() #map .collect(), #reducer);)
            })
        }
        Reducer::Extend => {
            let item = quote!(<#ty as ::core::iter::IntoIterator>::Item);
            (
                format!("Puts items into `{name}`; called twice, both."),
                quote!(impl ::core::iter::IntoIterator<Item = #item>),
                quote! {
                    let mut items = <#ty as ::core::default::Default>::default();
                    ::core::iter::Extend::<#item>::extend(&mut items, value);
                    #combine(&mut self.#ident, items, #reduce::extend);
                },
            )
        }
        Reducer::Add => (
            format!("Adds to `{name}`.\n\n# Panics\n\nIf called twice and the sum does not fit."),
            argument.clone(),
            quote_spanned! {at=>
                #combine(&mut self.#ident, #value, |held, more| {
                    if let ::core::result::Result::Err(error) = #reduce::add(#name, held, more) {
                        ::core::panic!("{error}");
                    }
                });
            },
        ),
        Reducer::Max | Reducer::Min | Reducer::Merge => {
            let (path, what) = match slot.reducer {
                Reducer::Max => {
                    (quote_spanned!(at=> max), format!("Raises `{name}` to this if that is larger."))
                }
                Reducer::Min => {
                    (quote_spanned!(at=> min), format!("Lowers `{name}` to this if that is smaller."))
                }
                _ => {
                    (quote_spanned!(at=> merge), format!("Merges entries into `{name}`; the newer one wins."))
                }
            };
            (what, argument.clone(), {
                let reducer = calling(&path);
                quote!(#combine(&mut self.#ident, #value, #reducer);)
            })
        }
        Reducer::Custom(path) => {
            let shown = path.to_token_stream().to_string().replace(' ', "");
            (
                format!("Goes into `{name}` through `{shown}`; called twice, the later value counts."),
                argument.clone(),
                quote! {
                    self.#ident = ::core::option::Option::Some(::agent_core::state::Write::Reduce(#value));
                },
            )
        }
    };
    let overwrite = slot.reducer.is_reducing().then(|| {
        let method = format_ident!("overwrite_{}", name, span = ident.span());
        let doc = format!("Sets `{name}` past its reducer; one writer a superstep.");
        quote! {
            #[doc = #doc]
            #vis fn #method(mut self, value: #argument) -> Self {
                self.#ident = ::core::option::Option::Some(::agent_core::state::Write::Overwrite(#value));
                self
            }
        }
    });
    quote_spanned! {at=>
        #[doc = #what]
        #[doc = ""]
        #(#docs)*
        #vis fn #ident(mut self, value: #argument_in) -> Self {
            #body
            self
        }
        #overwrite
    }
}

/// Where the type stands, but of the macro: the compiler points there, and lints know that nobody wrote it.
fn place(ty: &Type) -> Span {
    ty.span().resolved_at(Span::call_site())
}

/// The type of a setter's argument `value`, and the expression that makes the field's type of it.
fn argument(ty: &Type) -> (TokenStream, TokenStream) {
    if is_named(ty, &PLAIN) {
        (quote!(#ty), quote!(value))
    } else if let Some(inner) = inner(ty, "Option") {
        (
            quote!(impl ::agent_core::state::IntoOption<#inner>),
            quote!(::agent_core::state::IntoOption::into_option(value)),
        )
    } else {
        (quote!(impl ::core::convert::Into<#ty>), quote!(::core::convert::Into::into(value)))
    }
}

/// As [`argument`] for the items of a list.
fn items(ty: &Type) -> (TokenStream, TokenStream) {
    match inner(ty, "Vec") {
        // So that `["a", "b"]` will do.
        Some(item) if is_named(item, &["String"]) => (
            quote!(impl ::core::iter::IntoIterator<Item = impl ::core::convert::Into<#item>>),
            quote!(.map(::core::convert::Into::into)),
        ),
        Some(item) => (quote!(impl ::core::iter::IntoIterator<Item = #item>), quote!()),
        None => (
            quote!(impl ::core::iter::IntoIterator<Item = <#ty as ::core::iter::IntoIterator>::Item>),
            quote!(),
        ),
    }
}

fn state_impl(model: &Model<'_>, update: &Ident) -> TokenStream {
    let name = &model.input.ident;
    let (impl_generics, ty_generics, _) = model.input.generics.split_for_impl();
    let bounded = bounded(model, state_bounds(model, update));
    let bounded = &bounded.where_clause;
    let version = model.version;

    let apply = model.fields.iter().map(|slot| {
        let (ident, ty, name) = (slot.ident, &slot.field.ty, &slot.name);
        let at = place(ty);
        let infallible = |name: &str| {
            let name = Ident::new(name, at);
            quote_spanned!(at=> {
                ::agent_core::state::reduce::#name(field, value);
                ::core::result::Result::Ok(())
            })
        };
        let reduce = match &slot.reducer {
            Reducer::Replace | Reducer::Untracked => {
                return quote! {
                    if let ::core::option::Option::Some(value) = update.#ident {
                        self.#ident = value;
                    }
                };
            }
            Reducer::Append => infallible("append"),
            Reducer::Extend => infallible("extend"),
            Reducer::Add => quote_spanned!(at=> ::agent_core::state::reduce::add(#name, field, value)),
            Reducer::Max => infallible("max"),
            Reducer::Min => infallible("min"),
            Reducer::Merge => infallible("merge"),
            Reducer::Messages => infallible("messages"),
            Reducer::Custom(path) => {
                quote_spanned!(path.span()=> ::agent_core::state::Reduced::reduced(#path(field, value)))
            }
        };
        quote_spanned! {at=>
            ::agent_core::state::field::write(&mut self.#ident, update.#ident, |field, value| #reduce)?;
        }
    });

    let claims = model.fields.iter().map(|slot| {
        let (ident, name) = (slot.ident, &slot.name);
        if slot.reducer.is_reducing() {
            quote! {
                if let ::core::option::Option::Some(::agent_core::state::Write::Overwrite(_)) = update.#ident {
                    claim(#name);
                }
            }
        } else {
            quote!(if update.#ident.is_some() { claim(#name); })
        }
    });

    let migrate = [("migrate", &model.migrate), ("migrate_update", &model.migrate_update)].map(|(method, path)| {
        let method = format_ident!("{method}");
        path.as_ref().map(|path| {
            quote_spanned! {path.span()=>
                fn #method(
                    from: u32,
                    stored: ::agent_core::state::field::Value,
                ) -> ::core::result::Result<::agent_core::state::field::Value, ::agent_core::state::ApplyError> {
                    #path(from, stored)
                }
            }
        })
    });

    quote! {
        #[automatically_derived]
        impl #impl_generics ::agent_core::state::State for #name #ty_generics #bounded {
            type Update = #update #ty_generics;

            const VERSION: u32 = #version;

            const MARKS_OVERWRITES: bool = true;

            #[allow(unused_variables, reason = "a state may have no fields")]
            fn apply(
                &mut self,
                update: Self::Update,
            ) -> ::core::result::Result<(), ::agent_core::state::ApplyError> {
                #(#apply)*
                ::core::result::Result::Ok(())
            }

            #[allow(unused_variables, reason = "a state may have no fields")]
            fn claims(update: &Self::Update, claim: &mut dyn ::core::ops::FnMut(&'static str)) {
                #(#claims)*
            }

            #(#migrate)*
        }
    }
}

fn conversions(model: &Model<'_>, update: &Ident) -> TokenStream {
    let name = &model.input.ident;
    let (impl_generics, ty_generics, _) = model.input.generics.split_for_impl();
    let bounded = bounded(model, state_bounds(model, update));
    let bounded = &bounded.where_clause;
    quote! {
        #[automatically_derived]
        impl #impl_generics ::core::convert::From<#name #ty_generics>
            for ::agent_core::state::Input<#name #ty_generics> #bounded
        {
            fn from(state: #name #ty_generics) -> Self {
                Self::State(state)
            }
        }

        #[automatically_derived]
        impl #impl_generics ::core::convert::From<#update #ty_generics>
            for ::agent_core::state::Input<#name #ty_generics> #bounded
        {
            fn from(update: #update #ty_generics) -> Self {
                Self::Update(update)
            }
        }

        #[automatically_derived]
        impl #impl_generics ::agent_core::graph::IntoOutcome<#name #ty_generics> for #update #ty_generics #bounded {
            fn into_outcome(self) -> ::agent_core::graph::Outcome<#name #ty_generics> {
                ::agent_core::graph::Outcome::update(self)
            }
        }
    }
}

/// The generics with `more` in the where clause.
fn bounded(model: &Model<'_>, more: Vec<WherePredicate>) -> syn::Generics {
    let mut generics = model.input.generics.clone();
    if !more.is_empty() {
        generics.make_where_clause().predicates.extend(more);
    }
    generics
}

/// What the reducers ask of fields whose type mentions a parameter. Other types are checked where they are used.
fn reducer_bounds(model: &Model<'_>) -> Vec<WherePredicate> {
    let generic = model.fields.iter().filter(|slot| is_generic(model, &slot.field.ty));
    generic
        .filter_map(|slot| {
            let ty = &slot.field.ty;
            Some(match &slot.reducer {
                Reducer::Add => parse_quote!(#ty: ::agent_core::state::reduce::Sum),
                Reducer::Max | Reducer::Min => parse_quote!(#ty: ::core::cmp::PartialOrd),
                Reducer::Merge => parse_quote!(#ty: ::agent_core::state::Merge),
                Reducer::Messages => {
                    let item = inner(ty, "Vec")?;
                    parse_quote!(#item: ::agent_core::state::Keyed)
                }
                Reducer::Extend => parse_quote!(
                    #ty: ::core::default::Default + ::core::iter::IntoIterator
                        + ::core::iter::Extend<<#ty as ::core::iter::IntoIterator>::Item>
                ),
                Reducer::Replace | Reducer::Append | Reducer::Untracked | Reducer::Custom(_) => return None,
            })
        })
        .collect()
}

/// What `State` itself asks, where there are parameters that may not have it.
fn state_bounds(model: &Model<'_>, update: &Ident) -> Vec<WherePredicate> {
    let mut bounds = reducer_bounds(model);
    if model.input.generics.type_params().next().is_some() {
        let (name, (_, ty_generics, _)) = (&model.input.ident, model.input.generics.split_for_impl());
        let stored = quote! {
            ::agent_core::state::field::serde::Serialize
                + ::agent_core::state::field::serde::de::DeserializeOwned
                + ::core::marker::Send + ::core::marker::Sync + 'static
        };
        bounds.push(parse_quote!(#name #ty_generics: ::core::default::Default + #stored));
        bounds.push(parse_quote!(#update #ty_generics: #stored));
    }
    bounds
}

/// Whether a type mentions one of the parameters.
fn is_generic(model: &Model<'_>, ty: &Type) -> bool {
    struct Finder<'a> {
        params: Vec<&'a Ident>,
        found: bool,
    }
    impl<'ast> Visit<'ast> for Finder<'_> {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.found |= self.params.contains(&ident);
        }
    }
    let params = model.input.generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(&param.ident),
        GenericParam::Const(param) => Some(&param.ident),
        GenericParam::Lifetime(_) => None,
    });
    let mut finder = Finder { params: params.collect(), found: false };
    finder.visit_type(ty);
    finder.found
}
