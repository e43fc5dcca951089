//! Prose rules: words of a private idiom in comments, error texts, user texts and documents.
//!
//! No file may contain them, except texts that are part of a stored or public format (`STORED`).

use std::{collections::BTreeMap, fmt::Write as _, fs};

use super::architecture::{files, read, root};

/// Words and phrases of the idiom. Each is plain English somewhere; together they make a text that needs a second reading.
const IDIOM: &[&str] = &[
    "told",
    "tell",
    "tells",
    "hear",
    "hears",
    "heard",
    "somebody",
    "nobody",
    "anybody",
    "whoever",
    "goes on",
    "go on",
    "going on",
    "went on",
    "take up",
    "takes up",
    "taken up",
    "took up",
    "put away",
    "puts away",
    "says so",
    "said so",
    "in line",
    "come to rest",
    "comes to rest",
    "came to rest",
    "at rest",
    "goodbye",
    "by itself",
    "so many",
    "given up",
    "gives up",
    "give up",
    "whose",
    "one's own",
    "of its own",
    "of their own",
    "beyond that",
    "stand",
    "stands",
    "let in",
    "lets in",
    "let go",
    "lets go",
    "sign of life",
];

/// Texts that stored runs, conversations, generated clients or the input of a parser contain, so that they must not change:
/// `(file, text)`.
const STORED: &[(&str, &str)] = &[
    ("agent-server/src/docs/asyncapi.rs", "\"tell\""),
    ("agent-server/src/docs/asyncapi.rs", "\"hear\""),
    ("agent-server/src/handler/openai/deltas.rs", "(Answer with your next message, and I go on."),
    ("agent-server/src/webhook/delivery.rs", "\"tell\""),
    ("agent-server/src/webhook/delivery.rs", "The server answers this by itself."),
    ("examples/trend-agent/src/clause.rs", "\"tell \""),
];

/// Folders with sources, and the extensions that are read there.
const SOURCES: &[(&str, &[&str])] = &[
    ("agent-core/src", &["rs"]),
    ("agent-core/macros/src", &["rs"]),
    ("agent-tools/src", &["rs"]),
    ("agent-postgres/src", &["rs"]),
    ("agent-server/src", &["rs"]),
    ("agent-server/assets/dashboard", &["js", "css", "html"]),
    ("examples", &["rs", "js", "css", "html"]),
    ("benches", &["rs"]),
];

/// Markdown beside the sources. Every `.md` file at the top and in `docs` counts too.
const DOCUMENTS: &[&str] =
    &["docs", "agent-core", "agent-tools", "agent-postgres", "agent-server", "examples", "benches", "tests"];

/// Prose of one file: comments, and texts in string literals.
#[derive(Default)]
struct Prose {
    comments: String,
    texts: String,
    comment_lines: usize,
}

/// Splits a Rust or JavaScript source into comments and string literals.
fn of_source(source: &str, javascript: bool) -> Prose {
    let mut prose = Prose::default();
    let mut rest = source;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let raw = raw_string(rest).filter(|_| !javascript && !before.is_alphanumeric() && before != '_');
        let length = if rest.starts_with("//") {
            let line = rest.lines().next().unwrap_or_default();
            let text = line.trim_start_matches(['/', '!']);
            prose.comments.push_str(text);
            prose.comments.push('\n');
            prose.comment_lines += 1;
            line.len()
        } else if javascript && rest.starts_with("/*") {
            let length = rest.find("*/").map_or(rest.len(), |end| end + 2);
            prose.comments.push_str(&rest[..length]);
            length
        } else if let Some((text, length)) = raw {
            prose.texts.push_str(text);
            prose.texts.push_str(" .\n");
            length
        } else if first == '"' || (javascript && (first == '\'' || first == '`')) {
            let length = quoted(rest, first);
            prose.texts.push_str(&rest[1..length - 1].replace("\\n", " ").replace("\\\n", " "));
            prose.texts.push_str(" .\n");
            length
        } else if first == '\'' {
            // A character or a lifetime.
            match rest[1..].chars().next() {
                Some('\\') => quoted(rest, '\''),
                Some(inside) if rest[1 + inside.len_utf8()..].starts_with('\'') => inside.len_utf8() + 2,
                _ => 1,
            }
        } else {
            first.len_utf8()
        };
        before = rest[..length].chars().next_back().unwrap_or(' ');
        rest = &rest[length..];
    }
    prose
}

/// Length of a literal that begins with `quote`, both quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            character if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Text and length of a raw string literal at the beginning of `text`.
fn raw_string(text: &str) -> Option<(&str, usize)> {
    let inside = text.strip_prefix('r').or_else(|| text.strip_prefix("br"))?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    let body = inside[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)?;
    let before = text.len() - body.len();
    Some((&body[..length], before + length + end.len()))
}

/// Markdown without code blocks.
fn of_document(document: &str) -> Prose {
    let mut prose = Prose::default();
    let mut code = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            prose.texts.push_str(line);
            prose.texts.push('\n');
        }
    }
    prose
}

/// How often the idiom occurs, code in backticks left out. A phrase may be broken over two lines.
fn hits(text: &str) -> usize {
    let mut words = Vec::new();
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 1 {
            words.push(String::from("."));
            continue;
        }
        for token in part.split_whitespace() {
            let word = token.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            words.push(word);
            if token.ends_with(['.', ';', ':', ',']) {
                words.push(String::from("."));
            }
        }
    }
    let phrases: Vec<Vec<&str>> = IDIOM.iter().map(|phrase| phrase.split(' ').collect()).collect();
    (0..words.len())
        .filter(|at| {
            phrases.iter().any(|phrase| {
                words.len() >= at + phrase.len() && phrase.iter().zip(&words[*at..]).all(|(a, b)| a == b)
            })
        })
        .count()
}

/// A test module at the end of a source is not read by users.
fn without_tests(source: &str) -> &str {
    source.find("#[cfg(test)]\nmod ").map_or(source, |end| &source[..end])
}

struct Count {
    hits: usize,
    comment_hits: usize,
    comment_lines: usize,
}

fn count() -> BTreeMap<String, Count> {
    let mut counts = BTreeMap::new();
    let mut add = |file: String, prose: &Prose| {
        let comment_hits = hits(&prose.comments);
        let hits = comment_hits + hits(&prose.texts);
        counts.insert(file, Count { hits, comment_hits, comment_lines: prose.comment_lines });
    };
    for (folder, extensions) in SOURCES {
        for file in files(folder, extensions).into_iter().filter(|file| !file.contains("/tests/")) {
            let mut source = read(&file);
            for (_, text) in STORED.iter().filter(|(place, _)| *place == file) {
                assert!(source.contains(text), "{file} no longer contains {text}; remove it from STORED");
                source = source.replace(text, if text.starts_with('"') { "\"\"" } else { "" });
            }
            let prose = if file.ends_with(".rs") || file.ends_with(".js") {
                of_source(without_tests(&source), file.ends_with(".js"))
            } else {
                of_document(&source)
            };
            add(file, &prose);
        }
    }
    let mut documents: Vec<String> = DOCUMENTS.iter().flat_map(|folder| files(folder, &["md"])).collect();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            documents.push(name);
        }
    }
    for file in documents {
        let prose = of_document(&read(&file));
        add(file, &prose);
    }
    counts
}

#[test]
fn no_file_has_a_word_of_the_idiom() {
    let counts = count();
    let comment_hits: usize = counts.values().map(|count| count.comment_hits).sum();
    let comment_lines: usize = counts.values().map(|count| count.comment_lines).sum();
    let rate = 1_000.0 * comment_hits as f64 / comment_lines as f64;
    eprintln!("in comments {comment_hits} on {comment_lines} lines, {rate:.1} per 1,000 lines");
    let mut faults = String::new();
    for (file, count) in counts.iter().filter(|(_, count)| count.hits > 0) {
        writeln!(faults, "{file}: {} hits; use plain terms", count.hits).unwrap();
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn the_idiom_is_found_in_comments_and_texts_but_not_in_code() {
    let source = "/// It goes\n/// on, `told` nobody.\nfn told(c: char) { c == '\"'; say(\"put away\", r#\"at \"rest\"\"#) }";
    let prose = of_source(source, false);
    assert_eq!((hits(&prose.comments), hits(&prose.texts), prose.comment_lines), (2, 2, 2));
    assert_eq!(hits(&of_document("It stands.\n```\nwhose\n```\n`whose` own").texts), 1);
}
