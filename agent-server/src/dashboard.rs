//! Embedded files of the dashboard: no build step, no network access.

use std::sync::LazyLock;

use crate::docs::assets::tag;

/// A file of the dashboard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asset {
    /// Media type with charset.
    pub(crate) content_type: &'static str,
    /// Content.
    pub(crate) bytes: &'static [u8],
    /// Value of the header `ETag`.
    pub(crate) etag: &'static str,
}

/// Content security policy: only files and requests of this server, nothing inline.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        &[$(($name, $kind, include_bytes!(concat!("../assets/dashboard/", $name))),)*]
    };
}

/// Name, media type, bytes.
const FILES: &[(&str, &str, &[u8])] = files! {
    "index.html": "text/html; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "chat.js": SCRIPT,
    "dom.js": SCRIPT,
    "fields.js": SCRIPT,
    "format.js": SCRIPT,
    "graph.js": SCRIPT,
    "i18n.js": SCRIPT,
    "json.js": SCRIPT,
    "layout.js": SCRIPT,
    "markdown.js": SCRIPT,
    "prefs.js": SCRIPT,
    "questions.js": SCRIPT,
    "schedules.js": SCRIPT,
    "schema.js": SCRIPT,
    "session_model.js": SCRIPT,
    "session_view.js": SCRIPT,
    "sessions.js": SCRIPT,
    "shortcuts.js": SCRIPT,
    "socket.js": SCRIPT,
    "timeline.js": SCRIPT,
    "toast.js": SCRIPT,
    "todos.js": SCRIPT,
};

static ASSETS: LazyLock<Vec<(&'static str, Asset)>> = LazyLock::new(|| {
    let asset = |&(name, content_type, bytes): &(&'static str, &'static str, &'static [u8])| {
        let etag = tag(bytes).leak();
        (name, Asset { content_type, bytes, etag })
    };
    FILES.iter().map(asset).collect()
});

/// Returns a file by its name; the page if it is empty.
pub(crate) fn asset(name: &str) -> Option<Asset> {
    let name = match name {
        "" => "index.html",
        "index.html" => return None,
        name => name,
    };
    ASSETS.iter().find(|(known, _)| *known == name).map(|(_, asset)| *asset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Option<Asset> {
        asset(path.strip_prefix("/static/")?)
    }

    /// Returns all texts between `before` and `after`.
    fn between(text: &'static str, before: &str, after: char) -> Vec<&'static str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
    }

    #[test]
    fn every_file_that_the_page_loads_is_served() {
        let page = std::str::from_utf8(asset("").unwrap().bytes).unwrap();
        let mut asked = between(page, "src=\"", '"');
        asked.extend(between(page, "<link rel=\"stylesheet\" href=\"", '"'));
        asked.extend(between(page, "<link rel=\"icon\" href=\"", '"'));
        assert!(asked.len() >= 3, "{asked:?}");
        for path in asked {
            assert!(at(path).or_else(|| asset(path)).is_some(), "{path} is not embedded");
        }
        for (name, _, bytes) in FILES.iter().filter(|(name, ..)| name.ends_with(".js")) {
            for module in between(std::str::from_utf8(bytes).unwrap(), "from './", '\'') {
                assert!(asset(module).is_some(), "{name} asks for {module}");
            }
        }
    }

    #[test]
    fn no_file_uses_what_the_policy_forbids() {
        for (name, _, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "<style",
                " style=\"",
                "onclick=",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
        }
    }

    #[test]
    fn other_paths_have_no_file_and_files_have_different_tags() {
        for path in ["/", "../dashboard.rs", "dashboard.rs", "index.html", "/index.html"] {
            assert!(asset(path).is_none(), "{path}");
        }
        assert_ne!(asset("").unwrap().etag, asset("app.js").unwrap().etag);
    }
}
