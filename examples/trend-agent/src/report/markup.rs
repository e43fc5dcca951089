//! Markup that a model's report may not have: HTML, and addresses behind links and pictures.

/// Elements with content that is no text.
const HIDDEN: [&str; 5] = ["script", "style", "iframe", "object", "svg"];

/// The report without HTML tags and comments, and with the text of links in their place. Markdown is kept.
pub(super) fn without_html(report: &str) -> String {
    without_links(&without_tags(report))
}

fn without_tags(report: &str) -> String {
    let mut out = String::with_capacity(report.len());
    let mut rest = report;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let opens = tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !opens {
            out.push('<');
            rest = &tag[1..];
            continue;
        }
        let name: String =
            tag[1..].chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_lowercase();
        // A tag without an end takes the rest.
        let mut end = tag.find('>').map_or(tag.len(), |end| end + 1);
        if HIDDEN.contains(&name.as_str()) {
            let close = format!("</{name}");
            let lower = tag.to_ascii_lowercase();
            end = lower
                .find(&close)
                .map_or(tag.len(), |from| tag[from..].find('>').map_or(tag.len(), |end| from + end + 1));
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    out
}

/// `[text](address)` and `![text](address)` become their text.
fn without_links(report: &str) -> String {
    let mut out = String::with_capacity(report.len());
    let mut rest = report;
    while let Some(at) = rest.find("](") {
        let Some(open) = rest[..at].rfind('[') else {
            out.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        let Some(close) = rest[at..].find(')') else { break };
        out.push_str(rest[..open].strip_suffix('!').unwrap_or(&rest[..open]));
        out.push_str(&rest[open + 1..at]);
        rest = &rest[at + close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::without_html;

    #[test]
    fn html_and_addresses_are_left_out_and_markdown_is_kept() {
        for (report, expected) in [
            ("a <script>alert(1)</script> b", "a  b"),
            ("<SCRIPT src=x>alert(1)", ""),
            ("<img src=x onerror=alert(1)>**bold** < 3", "**bold** < 3"),
            ("- see [the page](javascript:alert(1)) now", "- see the page) now"),
            ("![x](http://a.b/c.png) end", "x end"),
            ("| a | b |\n|---|---|\n> quote [1]", "| a | b |\n|---|---|\n> quote [1]"),
            ("<!-- hidden --> seen", " seen"),
        ] {
            assert_eq!(without_html(report), expected, "{report}");
        }
    }
}
