//! Loaders: files as text, by the ending of their names.

use std::path::{Path, PathBuf};

/// Largest file that is loaded, in bytes.
pub const FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Most files of one folder, those of its subfolders included.
pub const FILES: usize = 100_000;

/// Format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// HTML; converted to Markdown.
    Html,
    /// PDF: the text of its pages. Images of text are not read. Needs the feature `pdf`.
    #[cfg(feature = "pdf")]
    Pdf,
}

impl Format {
    /// Returns the format of a file, by the ending of its name; `None` for others.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::retrieval::load::Format;
    ///
    /// assert_eq!(Format::of("handbook/refunds.md".as_ref()), Some(Format::Markdown));
    /// assert_eq!(Format::of("photo.jpg".as_ref()), None);
    /// ```
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" => Some(Self::Html),
            #[cfg(feature = "pdf")]
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    /// Converts the content of a document to text, or Markdown where it has structure.
    ///
    /// # Errors
    ///
    /// The reason why the content cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::retrieval::load::Format;
    ///
    /// let text = Format::Html.read(b"<h1>Refunds</h1><p>Within 14 days.</p>")?;
    /// assert_eq!(text, "# Refunds\n\nWithin 14 days.");
    /// # Ok::<(), String>(())
    /// ```
    pub fn read(self, content: &[u8]) -> Result<String, String> {
        match self {
            Self::Text | Self::Markdown => Ok(String::from_utf8_lossy(content).into_owned()),
            Self::Html => {
                let skipped =
                    htmd::HtmlToMarkdown::builder().skip_tags(vec!["script", "style", "nav"]).build();
                skipped.convert(&String::from_utf8_lossy(content)).map_err(|error| error.to_string())
            }
            #[cfg(feature = "pdf")]
            Self::Pdf => {
                // The library panics on some malformed files.
                let read = std::panic::catch_unwind(|| pdf_extract::extract_text_from_mem(content));
                match read {
                    Ok(text) => text.map(|text| text.trim().to_owned()).map_err(|error| error.to_string()),
                    Err(_) => Err("the PDF is malformed".to_owned()),
                }
            }
        }
    }
}

/// A file of a folder.
#[derive(Debug)]
pub(super) struct File {
    /// Its path below the folder, with `/`.
    pub(super) source: String,
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

/// Returns the files of a folder and its subfolders that have a known format, sorted. Links are not followed.
pub(super) fn files(folder: &Path) -> std::io::Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Some(format) = Format::of(&path)
            {
                let below = path.strip_prefix(folder).unwrap_or(&path);
                let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
                found.push(File { source: parts.join("/"), path, format });
                if found.len() > FILES {
                    return Err(std::io::Error::other(format!("it has more than {FILES} files")));
                }
            }
        }
    }
    found.sort_by(|left, right| left.source.cmp(&right.source));
    Ok(found)
}

/// Reads a file as text.
pub(super) fn read(file: &File) -> Result<String, String> {
    let size = std::fs::metadata(&file.path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES {
        return Err(format!("it has {size} bytes; the limit is {FILE_BYTES}"));
    }
    file.format.read(&std::fs::read(&file.path).map_err(|error| error.to_string())?)
}

#[cfg(all(test, feature = "pdf"))]
mod tests {
    use super::*;

    /// A PDF with one page.
    fn pdf(text: &str) -> Vec<u8> {
        let page = format!("BT /F1 12 Tf 20 100 Td ({text}) Tj ET");
        let objects = [
            "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R \
             /Resources << /Font << /F1 5 0 R >> >> >>"
                .to_owned(),
            format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()),
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        ];
        let mut file = String::from("%PDF-1.4\n");
        let mut places = Vec::new();
        for (number, object) in objects.iter().enumerate() {
            places.push(file.len());
            file += &format!("{} 0 obj\n{object}\nendobj\n", number + 1);
        }
        let table = file.len();
        file += "xref\n0 6\n0000000000 65535 f \n";
        for place in places {
            file += &format!("{place:010} 00000 n \n");
        }
        file += &format!("trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
        file.into_bytes()
    }

    #[test]
    fn the_text_of_a_pdf_is_read_and_a_malformed_one_is_an_error() {
        let text = Format::Pdf.read(&pdf("Refunds within 14 days.")).unwrap();
        assert_eq!(text, "Refunds within 14 days.");
        assert!(Format::Pdf.read(b"%PDF-1.4 and nothing else").is_err());
        assert!(Format::Pdf.read(b"").is_err());
    }
}
