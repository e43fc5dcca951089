//! `#[derive(State)]`: parses the struct and generates the implementation.

mod emit;
mod parse;

use proc_macro2::TokenStream;
use syn::{DeriveInput, Result};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    Ok(emit::emit(&parse::parse(input)?))
}
