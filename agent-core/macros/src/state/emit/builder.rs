//! Builder of an update: one setter per field.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Ident, Type, spanned::Spanned};

use super::bounds::{bounded, reducer_bounds};
use crate::state::parse::{Model, Reducer, Slot, inner, is_named};

/// Literals of these have no `Into` that the compiler can choose, so their setters take the type itself.
const PLAIN: [&str; 16] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
    "bool", "char",
];

pub(super) fn builder(model: &Model<'_>, update: &Ident) -> TokenStream {
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

/// Span of the type, resolved at the macro: the compiler points to the type, and lints treat the code as generated.
pub(super) fn place(ty: &Type) -> Span {
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
