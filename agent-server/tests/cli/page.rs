//! The settings page of the documentation equals the table of settings.

use std::{env, fs, path::Path};

#[test]
fn page_of_settings_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = agent_server::config::reference();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, page, "write it anew: UPDATE=1 cargo test -p agent-server --test cli page");
}
