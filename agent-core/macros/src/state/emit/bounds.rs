//! Bounds of the generated implementations.

use quote::quote;
use syn::{GenericParam, Ident, Type, WherePredicate, parse_quote, visit::Visit};

use crate::state::parse::{Model, Reducer, inner};

/// The generics with `more` in the where clause.
pub(super) fn bounded(model: &Model<'_>, more: Vec<WherePredicate>) -> syn::Generics {
    let mut generics = model.input.generics.clone();
    if !more.is_empty() {
        generics.make_where_clause().predicates.extend(more);
    }
    generics
}

/// Bounds that the reducers require of fields with generic types. Other types are checked where they are used.
pub(super) fn reducer_bounds(model: &Model<'_>) -> Vec<WherePredicate> {
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

/// Returns the bounds that `State` itself requires of type parameters.
pub(super) fn state_bounds(model: &Model<'_>, update: &Ident) -> Vec<WherePredicate> {
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

/// Returns whether a type mentions one of the parameters.
pub(super) fn is_generic(model: &Model<'_>, ty: &Type) -> bool {
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
