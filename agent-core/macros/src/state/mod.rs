//! `#[derive(State)]`: from the struct to what is written for it.

mod emit;
mod parse;

use proc_macro2::TokenStream;
use syn::{DeriveInput, Result};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    Ok(emit::emit(&parse::parse(input)?))
}
