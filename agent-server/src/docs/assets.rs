//! Embedded files of the API documents. Large ones are compressed, and decompressed for clients that do not accept gzip.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// An embedded file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) bytes: &'static [u8],
    /// Whether `bytes` are compressed with gzip.
    pub(crate) packed: bool,
}

/// A file, compressed or not, with its `ETag`.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) bytes: Bytes,
    /// Value of the header `ETag`.
    pub(crate) tag: Arc<str>,
}

impl File {
    /// Returns the file, compressed or not. Each form is created once, because decompression takes some milliseconds.
    ///
    /// # Errors
    ///
    /// The embedded file is corrupt.
    pub(crate) fn form(&self, packed: bool) -> io::Result<Form> {
        static KEPT: Mutex<Vec<(&'static str, bool, Form)>> = Mutex::new(Vec::new());
        // Permit while a form is made: that is done by one caller, however many ask for it.
        let mut kept = KEPT.lock();
        if let Some((.., form)) = kept.iter().find(|(name, is, _)| (*name, *is) == (self.name, packed)) {
            return Ok(form.clone());
        }
        let bytes = if self.packed && !packed {
            let mut whole = Vec::new();
            GzDecoder::new(self.bytes).read_to_end(&mut whole)?;
            Bytes::from(whole)
        } else {
            Bytes::from_static(self.bytes)
        };
        let form = Form { tag: tag(&bytes).into(), bytes };
        kept.push((self.name, packed, form.clone()));
        Ok(form)
    }
}

/// Returns the value of the header `ETag`.
pub(crate) fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(bytes)[..8]))
}

macro_rules! files {
    ($($name:literal, $from:literal, $kind:expr, $packed:literal;)*) => {
        &[$((
            $name,
            File {
                name: $name,
                content_type: $kind,
                bytes: include_bytes!(concat!("../../assets/docs/", $from)),
                packed: $packed,
            },
        ),)*]
    };
}

#[cfg(feature = "docs-ui")]
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const FILES: &[(&str, File)] = files! {
    "page.css", "page.css", STYLE, false;
    "empty.svg", "empty.svg", "image/svg+xml", false;
};

#[cfg(feature = "docs-ui")]
const UI_FILES: &[(&str, File)] = files! {
    "swagger-ui-bundle.js", "swagger-ui-bundle.js.gz", SCRIPT, true;
    "swagger-ui.css", "swagger-ui.css.gz", STYLE, true;
    "swagger.js", "swagger.js", SCRIPT, false;
    "redoc.standalone.js", "redoc.standalone.js.gz", SCRIPT, true;
    "redoc.js", "redoc.js", SCRIPT, false;
};
#[cfg(not(feature = "docs-ui"))]
const UI_FILES: &[(&str, File)] = &[];

/// Returns the file with a name.
pub(crate) fn file(name: &str) -> Option<File> {
    FILES.iter().chain(UI_FILES).find(|(known, _)| *known == name).map(|(_, file)| *file)
}

#[cfg(feature = "docs-ui")]
pub(crate) const SWAGGER: &str = include_str!("../../assets/docs/swagger.html");
#[cfg(feature = "docs-ui")]
pub(crate) const REDOC: &str = include_str!("../../assets/docs/redoc.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_file_is_decompressed_once() {
        for (name, file) in FILES.iter().chain(UI_FILES).filter(|(_, file)| file.packed) {
            let whole = file.form(false).unwrap();
            assert!(whole.bytes.len() > file.bytes.len(), "{name}");
            assert!(std::str::from_utf8(&whole.bytes).is_ok(), "{name} is not text");
            let again = file.form(false).unwrap();
            assert_eq!(whole.bytes.as_ptr(), again.bytes.as_ptr(), "{name} is decompressed once");
            assert_ne!(whole.tag, file.form(true).unwrap().tag, "{name}: the forms have different tags");
        }
    }
}
