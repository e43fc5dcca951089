//! Shortening and hashing of text; waits that can be added to a time.

use std::{any::Any, time::Duration};

/// Returns `wait`, at most 30 years: a longer one, such as [`Duration::MAX`] for "never", cannot be added to a time.
pub(crate) fn bounded(wait: Duration) -> Duration {
    wait.min(Duration::from_secs(30 * 365 * 86_400))
}

/// Returns the first `max` characters of `text`, with an ellipsis if it was cut.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Appends to a vector that holds one item in most cases: the first push reserves room for one item instead of four.
#[inline]
pub(crate) fn push_first<T>(items: &mut Vec<T>, item: T) {
    if items.capacity() == 0 {
        items.reserve_exact(1);
    }
    items.push(item);
}

/// Returns the message of a panic, shortened.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    shorten(text, 500)
}

/// Returns the first 16 hexadecimal digits of the SHA-256 of `text`.
pub(crate) fn fingerprint(text: &str) -> String {
    digest(text, 8)
}

/// Returns the first `bytes` bytes of the SHA-256 of `text` in hexadecimal digits.
pub(crate) fn digest(text: &str, bytes: usize) -> String {
    use sha2::{Digest, Sha256};
    let digits =
        |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
    Sha256::digest(text.as_bytes()).iter().take(bytes).flat_map(|byte| digits(*byte)).collect()
}
