//! `#[tool]`: generates a struct with the name of an async function that implements `Tool`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, LitStr, Meta, Pat, PatIdent, Result, ReturnType,
    Type, ext::IdentExt, spanned::Spanned,
};

#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    policy: Option<Expr>,
}

pub(crate) fn expand(options: TokenStream, mut function: ItemFn) -> Result<TokenStream> {
    let options = parse_options(options)?;
    let ident = function.sig.ident.clone();
    if function.sig.asyncness.is_none() {
        return Err(Error::new(function.sig.fn_token.span(), "a tool is an `async fn`"));
    }
    if let Some(param) = function.sig.generics.params.first() {
        return Err(Error::new(param.span(), "a tool has no generics: its schema is made once"));
    }
    let output = match &function.sig.output {
        ReturnType::Type(_, ty) if is_result(ty) => (**ty).clone(),
        ReturnType::Type(_, ty) => {
            return Err(Error::new(ty.span(), "a tool returns `Result<T, ToolError>`, where `T: Serialize`"));
        }
        ReturnType::Default => {
            return Err(Error::new(
                function.sig.paren_token.span.close(),
                "a tool returns `Result<T, ToolError>`, where `T: Serialize`",
            ));
        }
    };
    let description = docs(&function.attrs);
    if description.is_empty() {
        return Err(Error::new(
            ident.span(),
            "a tool needs a doc comment: it describes to the model when and why to use it",
        ));
    }

    let mut fields = Vec::new();
    let mut whole = None;
    let mut call = Vec::new();
    for argument in &mut function.sig.inputs {
        let FnArg::Typed(typed) = argument else {
            return Err(Error::new(
                argument.span(),
                "a tool is a free function; implement `Tool` for one with data",
            ));
        };
        if is_context(&typed.ty) {
            call.push(quote!(cx));
            continue;
        }
        if let Type::Reference(reference) = &*typed.ty {
            return Err(Error::new(
                reference.span(),
                "a tool owns its arguments (`String`, not `&str`); the only reference is `&ToolContext`",
            ));
        }
        let Pat::Ident(PatIdent { ident: name, subpat: None, by_ref: None, .. }) = &*typed.pat else {
            return Err(Error::new(
                typed.pat.span(),
                "an argument of a tool has a plain name: the model sees it",
            ));
        };
        let attributes = std::mem::take(&mut typed.attrs);
        let ty = &typed.ty;
        if let Some(marker) = attributes.iter().find(|attribute| attribute.path().is_ident("args")) {
            if whole.is_some() {
                return Err(Error::new(marker.span(), "one `#[args]` holds all arguments"));
            }
            whole = Some((marker.span(), quote!(#ty)));
            call.push(quote!(args));
            continue;
        }
        if let Some(other) = attributes.iter().find(|attribute| {
            !["doc", "serde", "schemars"].iter().any(|known| attribute.path().is_ident(known))
        }) {
            return Err(Error::new(
                other.span(),
                "an argument of a tool takes doc comments, `#[serde(..)]`, `#[schemars(..)]`, or `#[args]` for a \
                 struct that holds all of them",
            ));
        }
        call.push(quote!(args.#name));
        fields.push(quote!(#(#attributes)* pub #name: #ty));
    }
    if let (Some((span, _)), false) = (&whole, fields.is_empty()) {
        return Err(Error::new(*span, "`#[args]` holds all arguments; put the others into its struct"));
    }

    let (args_struct, args) = match whole {
        Some((_, ty)) => (None, ty),
        None => (
            Some(quote! {
                #[derive(
                    ::agent_core::tool::expansion::serde::Deserialize,
                    ::agent_core::tool::expansion::schemars::JsonSchema,
                )]
                #[serde(crate = "::agent_core::tool::expansion::serde")]
                #[schemars(crate = "::agent_core::tool::expansion::schemars")]
                pub struct Args { #(#fields,)* }
            }),
            quote!(Args),
        ),
    };

    let vis = &function.vis;
    let name = options.name.map_or_else(|| ident.unraw().to_string(), |name| name.value());
    let policy = options.policy.map(|policy| {
        quote_spanned! {policy.span()=>
            fn policy(&self) -> ::agent_core::tool::ToolPolicy {
                #policy
            }
        }
    });
    let (attributes, block) = (&function.attrs, &function.block);
    let mut signature = function.sig.clone();
    signature.ident = format_ident!("run", span = ident.span());
    let output = quote_spanned!(output.span()=> <#output as ::agent_core::tool::expansion::Outcome>::Value);
    Ok(quote! {
        #(#attributes)*
        #[allow(non_camel_case_types, reason = "it has the name of the function")]
        #[derive(Debug, Clone, Copy)]
        #vis struct #ident;

        impl #ident {
            /// The function behind the tool.
            #[allow(dead_code, clippy::unused_async, reason = "the author's own function")]
            #vis #signature #block
        }

        const _: () = {
            #args_struct

            impl ::agent_core::tool::Tool for #ident {
                type Args = #args;
                type Output = #output;

                fn name(&self) -> &str {
                    #name
                }

                fn description(&self) -> &str {
                    #description
                }

                #policy

                #[allow(unused_variables, reason = "a tool may need neither")]
                async fn call(
                    &self,
                    args: Self::Args,
                    cx: &::agent_core::tool::ToolContext,
                ) -> ::core::result::Result<Self::Output, ::agent_core::tool::ToolError> {
                    Self::run(#(#call),*).await.map_err(::core::convert::Into::into)
                }
            }
        };
    })
}

fn parse_options(tokens: TokenStream) -> Result<Options> {
    let mut options = Options::default();
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            options.name = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("policy") {
            options.policy = Some(meta.value()?.parse()?);
        } else {
            return Err(
                meta.error("unknown option of a tool; allowed: `name = \"..\"`, `policy = ToolPolicy::..`")
            );
        }
        Ok(())
    });
    syn::parse::Parser::parse2(parser, tokens)?;
    if let Some(name) = &options.name {
        let text = name.value();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=64).contains(&text.len()) || !text.bytes().all(legal) {
            return Err(Error::new(name.span(), "a tool's name is 1 to 64 of `A-Z a-z 0-9 _ -`"));
        }
    }
    Ok(options)
}

/// Joins the lines of the doc comment, without the first blank of each line.
fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                let text = text.value();
                Some(text.strip_prefix(' ').unwrap_or(&text).to_owned())
            }
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Returns whether the type is `Result`, or an alias with that suffix.
fn is_result(ty: &Type) -> bool {
    matches!(ty, Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident.to_string().ends_with("Result")))
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if matches!(&*reference.elem, Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident == "ToolContext")))
}
