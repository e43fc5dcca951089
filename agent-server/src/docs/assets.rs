//! The files of the API pages, embedded; the large ones are packed, and unpacked for clients that cannot.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// A file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    name: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) bytes: &'static [u8],
    /// Whether `bytes` are packed with gzip.
    pub(crate) packed: bool,
}

/// A file in one of its forms, with a tag that changes with the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) bytes: Bytes,
    /// In quotes, as the header wants it.
    pub(crate) tag: Arc<str>,
}

impl File {
    /// The file, packed or as it was before. Each form is made once and kept: unpacking one costs some milliseconds.
    ///
    /// # Errors
    ///
    /// None that a caller can cause: the files are our own.
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

/// Changes with the bytes; in quotes, as the header wants it.
pub(crate) fn tag(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hash}\"")
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

/// The file of a name.
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
    fn what_is_packed_is_unpacked_once_however_often_it_is_asked_for() {
        for (name, file) in FILES.iter().chain(UI_FILES).filter(|(_, file)| file.packed) {
            let whole = file.form(false).unwrap();
            assert!(whole.bytes.len() > file.bytes.len(), "{name}");
            assert!(std::str::from_utf8(&whole.bytes).is_ok(), "{name} is no text");
            let again = file.form(false).unwrap();
            assert_eq!(whole.bytes.as_ptr(), again.bytes.as_ptr(), "{name} is unpacked once");
            assert_ne!(
                whole.tag,
                file.form(true).unwrap().tag,
                "{name}: two forms are two things to a cache"
            );
        }
    }
}
