//! Generated code: the update type, its builder and the implementations.

mod bounds;
mod builder;
mod stored;

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, spanned::Spanned};

use self::{
    bounds::{bounded, state_bounds},
    builder::{builder, place},
    stored::stored,
};
use super::parse::{Model, Reducer};

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

    let copies = model.fields.iter().map(|slot| {
        let ident = slot.ident;
        quote!(#ident: (&&::agent_core::state::field::Copy(&update.#ident)).copied()?,)
    });
    let (_, marker_init) = marker(model);

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

            #[allow(unused_variables, reason = "a state may have no fields")]
            fn copy_update(update: &Self::Update) -> ::core::option::Option<Self::Update> {
                // The trait that is in scope and fits a type without `Clone` may be unused.
                #[allow(unused_imports, reason = "one of them is unused if all fields are alike")]
                use ::agent_core::state::field::{CopyByClone as _, CopyNothing as _};
                ::core::option::Option::Some(#update { #(#copies)* #marker_init })
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
