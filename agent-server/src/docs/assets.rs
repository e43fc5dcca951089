//! The files of the API pages, embedded; the large ones are packed, and unpacked for clients that cannot.

use std::io::{self, Read};

use flate2::read::GzDecoder;

/// A file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: &'static [u8],
    /// Whether `bytes` are packed with gzip.
    pub(crate) packed: bool,
}

impl File {
    /// The bytes as they were before they were packed.
    ///
    /// # Errors
    ///
    /// None that a caller can cause: the files are our own.
    pub(crate) fn unpacked(&self) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        GzDecoder::new(self.bytes).read_to_end(&mut whole)?;
        Ok(whole)
    }
}

macro_rules! files {
    ($($name:literal, $from:literal, $kind:expr, $packed:literal;)*) => {
        &[$((
            $name,
            File {
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
    fn what_is_packed_can_be_unpacked() {
        for (name, file) in FILES.iter().chain(UI_FILES).filter(|(_, file)| file.packed) {
            let whole = file.unpacked().unwrap();
            assert!(whole.len() > file.bytes.len(), "{name}");
            assert!(String::from_utf8(whole).is_ok(), "{name} is no text");
        }
    }
}
