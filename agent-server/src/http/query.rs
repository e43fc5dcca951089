//! Query strings and percent-encoding.

use crate::{
    error::{ApiError, Rejection},
    spelling::misspelled,
};

/// A decoded query string.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    invalid_utf8: bool,
}

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let invalid_utf8 = percent_encoding::percent_decode_str(query).decode_utf8().is_err();
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self { pairs: pairs.collect(), invalid_utf8 }
    }

    /// Returns `true` if the query is UTF-8. In values, `U+FFFD` replaces invalid bytes.
    pub(crate) const fn is_utf8(&self) -> bool {
        !self.invalid_utf8
    }

    /// Returns the last value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Checks the names of the parameters.
    ///
    /// # Errors
    ///
    /// 400 that names a misspelled parameter and the right one.
    pub(crate) fn check_names(&self, known: &[String]) -> Result<(), ApiError> {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        match misspelled(self.pairs.iter().map(|(name, _)| name.as_str()), &known) {
            Some((name, meant)) => {
                let message = format!("unknown query parameter `{name}`; did you mean `{meant}`?");
                Err(ApiError::new(Rejection::InvalidRequest, message).at(name))
            }
            None => Ok(()),
        }
    }

    /// Returns the value of a numeric parameter. Values above `i64::MAX` count as `i64::MAX`.
    ///
    /// # Errors
    ///
    /// 400 that names the parameter if it is not a number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) => Ok(Some(number.min(u64::MAX >> 1))),
            Err(_) if digits => Ok(Some(u64::MAX >> 1)),
            Err(_) => Err(ApiError::new(Rejection::InvalidRequest, format!("`{name}` must be a number"))),
        }
    }
}

/// Undoes percent-encoding. `U+FFFD`, which no id contains, replaces invalid UTF-8.
pub(crate) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
