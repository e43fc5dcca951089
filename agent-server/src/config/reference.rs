//! Output of settings: the reference of all settings, and the effective values.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Config, Origin, table};

const INTRO: &str = "\
# Configuration of agent-server

<!-- Generated from the table in agent-server/src/config/settings.rs: `UPDATE=1 cargo test -p agent-server --test cli page` writes it. -->

Four sources; later ones override earlier ones:

1. `.env` in the working directory or a parent of it, read as python-dotenv reads it: `API_PORT=9000`;
2. the environment: `API_PORT=9000 agent-server`;
3. a TOML file: from `--config FILE` or `AGENT_CONFIG`, otherwise `agent-server.toml` in the working directory if it exists; keys are
   the names in lower case, in their section or at the top level: `[server]`, `api_port = 9000`;
4. flags: `agent-server --api-port 9000`.

`agent-server --print-config` shows the effective values and their sources, without secrets. An invalid setting prevents the start: all errors are reported together,
with the name, the source and the expected value. An empty value counts as not set.

**Secrets** (marked) have no flag, because command lines are visible to other users. Each can be read from a file instead: `NAME_FILE` names it, in every source
(`OPENAI_API_KEY_FILE=/run/secrets/openai`, `--openai-api-key-file …`). They are never printed or logged.

**Who may use the server.** `API_HOST` is `0.0.0.0` by contract, and the server starts without any configuration. So that this does not open it to the network,
`AUTH=auto` serves only callers on this machine until keys are configured, logs a warning, and rejects others. `API_KEYS` or a JWT key opens it to callers with a key or token;
`AUTH=off` opens it to all.

**Behind a proxy.** A proxy on the same machine reaches the server from `127.0.0.1`. With `AUTH=auto` and no keys a request through a proxy is rejected: one with a header that
proxies add (`Forwarded`, `Via`, `X-Forwarded-*`, `X-Real-IP`, `True-Client-IP`, `CF-*` and others), or with HTTP/1.0. A proxy that adds no header cannot be distinguished from a
program on this machine, and opens the server to all its clients: configure keys before you put a proxy in front. With `API_HOST=127.0.0.1`, `API_KEYS` and
`TRUSTED_PROXIES=127.0.0.1`, and one of these in front (HTTPS, unbuffered streams, WebSockets, and the client's address):

```nginx
location / {
    proxy_pass http://127.0.0.1:8000;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;  # map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    proxy_buffering off;
    proxy_read_timeout 1h;
}
```

```text
# Caddyfile: it adds X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.
agents.example {
    reverse_proxy 127.0.0.1:8000 {
        flush_interval -1
    }
}
```

```yaml
# Traefik, dynamic configuration: it adds X-Forwarded-* and X-Real-Ip.
http:
  routers:
    agents: { rule: Host(`agents.example`), service: agents, tls: {} }
  services:
    agents: { loadBalancer: { servers: [{ url: \"http://127.0.0.1:8000\" }], responseForwarding: { flushInterval: 1ms } } }
```

**Hosts.** If callers need no key (`AUTH=off`, or `auto` without keys), the server responds only to requests with a `Host` that is an IP address, `localhost`, a name without a dot,
or in `ALLOWED_HOSTS`: a web page can point its own name at this machine (DNS rebinding) and would be of the same origin as the server.
";

/// Returns the reference of all settings as Markdown: `docs/configuration.md`.
///
/// # Examples
///
/// ```
/// assert!(agent_server::config::reference().contains("`API_PORT`"));
/// ```
#[must_use]
pub fn reference() -> String {
    let mut page = INTRO.to_owned();
    let mut section = "";
    for setting in table() {
        if setting.section != section {
            section = setting.section;
            line(
                &mut page,
                format_args!(
                    "\n## [{section}]\n\n| Variable | Flag | Value | Default | |\n|---|---|---|---|---|"
                ),
            );
        }
        let mut names = format!("`{}`", setting.name);
        for alias in setting.aliases {
            line_on(&mut names, format_args!(" or `{alias}`"));
        }
        let secret = if setting.is_secret() { "**secret**; " } else { "" };
        let default = setting.default.map_or_else(String::new, |text| format!("`{text}`"));
        let cells = [
            names,
            format!("`--{}`", setting.flag()),
            format!("{secret}{}", setting.what()),
            default,
            setting.help.clone(),
        ];
        line(&mut page, format_args!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    page
}

impl Config {
    /// Returns the effective settings with their sources as text. Secrets are hidden.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("API_PORT", "9000");
    /// let config = Config::read(&sources)?;
    /// assert!(config.to_text().contains("9000"));
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let width = self.effective.iter().map(|setting| setting.name.len()).max().unwrap_or_default();
        let mut section = "";
        for (setting, known) in self.effective.iter().zip(table()) {
            if known.section != section {
                section = known.section;
                line(&mut text, format_args!("[{section}]"));
            }
            let value = setting.text.as_deref().unwrap_or("-");
            let origin = match &setting.origin {
                Origin::Default => String::new(),
                origin => format!("   ({origin})"),
            };
            line(&mut text, format_args!("  {:width$}  {value}{origin}", setting.name));
        }
        text
    }

    /// Returns the effective settings with their sources as JSON. Secrets are hidden.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("API_PORT", "9000");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.to_json()["API_PORT"]["value"], "9000");
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> Value {
        let of = |setting: &super::Effective| {
            let origin = setting.origin.to_string();
            (setting.name.to_owned(), json!({"value": setting.text, "from": origin}))
        };
        Value::Object(self.effective.iter().map(of).collect())
    }
}

fn line(text: &mut String, args: std::fmt::Arguments<'_>) {
    writeln!(text, "{args}").expect("writing to a string cannot fail");
}

fn line_on(text: &mut String, args: std::fmt::Arguments<'_>) {
    text.write_fmt(args).expect("writing to a string cannot fail");
}
