//! The list of all error codes.

use std::fmt::Write as _;

use super::openapi::codes;
use crate::error::{further_codes, pages::summary};

/// Returns all error codes.
fn all_codes() -> impl Iterator<Item = &'static str> {
    codes().into_iter().chain(further_codes())
}

/// Returns the list of all codes.
pub(crate) fn list() -> String {
    let mut text = "# Error codes\n\n\
        An error is `{code, message, detail, help, retryable, ..}`: branch on `code`, show `message` (or `detail`, the same text) to \
         people. `help` is the path of the page of the code; `retryable` says whether the same request may succeed later.\n\n\
        | Code | Cause |\n|---|---|\n"
        .to_owned();
    for code in all_codes() {
        writeln!(text, "| [`{code}`](/docs/errors/{code}) | {} |", summary(code).unwrap_or_default())
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::pages::{PAGES, markdown};

    #[test]
    fn every_code_has_a_page_with_its_cause_and_what_to_do() {
        for code in all_codes() {
            let text = markdown(code).unwrap_or_else(|| panic!("docs/errors/{code}.md is missing"));
            assert!(text.starts_with(&format!("# {code}\n\n")), "{code} has no title");
            assert!(
                summary(code).is_some_and(|cause| !cause.contains('\n') && cause.ends_with('.')),
                "{code}"
            );
            let (_, to_do) =
                text.split_once("\n## What to do\n\n").unwrap_or_else(|| panic!("{code}: what to do?"));
            assert!(to_do.len() > 20, "{code}");
        }
    }

    #[test]
    fn every_page_has_a_code() {
        for (code, _) in PAGES {
            assert!(all_codes().any(|known| known == *code), "{code} is not an error code");
        }
    }
}
