//! Stored form of an update: its `Serialize` and `Deserialize`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Ident, Type, parse_quote};

use super::{
    bounds::{bounded, is_generic},
    builder::place,
    marker,
};
use crate::state::parse::{Model, Reducer, Slot, inner};

/// Stored form of an update: an object of the fields that are set, each with its plain value. What plain JSON cannot
/// express is written beside the fields, so that no value can be mistaken for it: `$overwrite` names the fields that bypass
/// their reducer, `$some` those with a nested option that is `Some(None)`.
pub(super) fn stored(model: &Model<'_>, update: &Ident) -> TokenStream {
    let stored: Vec<&Slot<'_>> =
        model.fields.iter().filter(|slot| !matches!(slot.reducer, Reducer::Untracked)).collect();
    let serialize = serialize(model, update, &stored);
    let deserialize = deserialize(model, update, &stored);
    quote!(#serialize #deserialize)
}

/// Number of `Option`s around the innermost type of a field that is replaced.
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

/// `Some(..Some(None))` with `count` `Some`s.
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
