//! MCP servers in the settings: a list in the form that other programs use (`mcpServers`), as JSON or as TOML tables.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use agent_core::secret::Secret;
use serde::Deserialize;
use serde_json::Value;

use super::value::Kind;

/// When calls of a server's tools need an approval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum McpApproval {
    /// Calls of tools that the server does not declare as read-only. The default.
    #[default]
    Writes,
    /// All calls.
    Always,
    /// None.
    Never,
}

/// Transport of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum McpTransport {
    /// A child process that speaks over stdin and stdout.
    Stdio {
        /// The program, by its path or its name in `PATH`.
        command: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// Further environment variables.
        env: BTreeMap<String, Secret>,
        /// Working directory.
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP.
    Http {
        /// The address.
        url: Secret,
        /// Headers of each request.
        headers: BTreeMap<String, Secret>,
    },
}

/// An MCP server that has tools for the assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct McpServer {
    /// Name, and with `_` the prefix of its tools.
    pub name: String,
    /// Its transport.
    pub transport: McpTransport,
    /// Policy for the approval of its calls.
    pub approval: McpApproval,
    /// Tools that the assistant gets, by their names on the server; `None`: all.
    pub tools: Option<Vec<String>>,
    /// Timeout of a call.
    pub timeout: Option<Duration>,
    /// Whether it may ask questions.
    pub questions: bool,
    /// Whether the program ends if the server cannot be used at its start.
    pub required: bool,
}

/// A server as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerEntry {
    #[serde(rename = "type")]
    kind: Option<String>,
    command: Option<PathBuf>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    approval: McpApproval,
    tools: Option<Vec<String>>,
    timeout_seconds: Option<f64>,
    #[serde(default)]
    questions: bool,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    disabled: bool,
}

/// Servers by name: a JSON object, or one in `mcpServers`.
pub(super) fn servers() -> Kind<Vec<McpServer>> {
    let what = "a JSON object of MCP servers by name, each with `command` or `url`";
    let mut kind = Kind::new("JSON", what, |text| read(text).ok());
    kind.hint = Some(|text| read(text).err());
    kind.hidden()
}

fn read(text: &str) -> Result<Vec<McpServer>, String> {
    // The error of the library quotes the text, which may contain a secret.
    let mut value: Value = serde_json::from_str(text)
        .map_err(|error| format!("it is not JSON at line {} column {}", error.line(), error.column()))?;
    if let Some(inner) = value.get_mut("mcpServers") {
        value = inner.take();
    }
    let Value::Object(servers) = value else { return Err("it is not an object".to_owned()) };
    let mut read = Vec::new();
    for (name, value) in servers {
        let fault = |message: String| format!("server `{}`: {message}", shortened(&name));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 40 || !name.chars().all(legal) {
            return Err(fault("its name must have 1 to 40 letters, digits, `_` and `-`".to_owned()));
        }
        let written: ServerEntry = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let unknown = error.inner().to_string().split('`').nth(1).map(str::to_owned);
            match unknown.filter(|_| error.inner().to_string().starts_with("unknown")) {
                Some(field) => fault(format!("`{field}` is unknown")),
                None => fault(format!("`{path}` is missing or has another type")),
            }
        })?;
        if !written.disabled {
            read.push(checked(name.clone(), written).map_err(fault)?);
        }
    }
    Ok(read)
}

fn checked(name: String, written: ServerEntry) -> Result<McpServer, String> {
    let secrets = |values: BTreeMap<String, String>| -> Result<BTreeMap<String, Secret>, String> {
        values.into_iter().map(|(name, text)| Ok((name, Secret::new(expanded(&text)?)))).collect()
    };
    let transport = match (written.command, written.url) {
        (Some(command), None) => McpTransport::Stdio {
            command,
            args: written.args.iter().map(|arg| expanded(arg)).collect::<Result<_, _>>()?,
            env: secrets(written.env)?,
            cwd: written.cwd,
        },
        (None, Some(url)) => {
            let url = expanded(&url)?;
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err("`url` must begin with `http://` or `https://`".to_owned());
            }
            McpTransport::Http { url: Secret::new(url), headers: secrets(written.headers)? }
        }
        _ => return Err("it must have either `command` or `url`".to_owned()),
    };
    if written.kind.as_deref() == Some("sse") {
        return Err("the transport `sse` is obsolete and not supported; use streamable HTTP".to_owned());
    }
    let timeout = match written.timeout_seconds {
        None => None,
        Some(seconds) if (0.1..=86_400.0).contains(&seconds) => Some(Duration::from_secs_f64(seconds)),
        Some(_) => return Err("`timeout_seconds` must be a number from 0.1 to 86400".to_owned()),
    };
    let ServerEntry { approval, tools, questions, required, .. } = written;
    Ok(McpServer { name, transport, approval, tools, timeout, questions, required })
}

/// Replaces `${NAME}` by the environment variable, so that a file need not contain secrets.
fn expanded(text: &str) -> Result<String, String> {
    let (mut whole, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else { break };
        let name = name.strip_prefix("env:").unwrap_or(name);
        let value = std::env::var(name)
            .map_err(|_| format!("the environment variable `{}` is not set", shortened(name)))?;
        whole.push_str(before);
        whole.push_str(&value);
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_other_programs_is_read_and_faults_name_no_secret() {
        let list = r#"{"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "server"], "env": {"TOKEN": "s3cret"}, "approval": "always"},
            "shop": {"type": "http", "url": "https://shop.example/mcp", "headers": {"Authorization": "Bearer s3cret"},
                     "tools": ["order"], "timeout_seconds": 5, "questions": true},
            "off": {"command": "x", "disabled": true}
        }}"#;
        let read_list = read(list).unwrap();
        assert_eq!(
            read_list.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(),
            ["files", "shop"]
        );
        assert_eq!(
            (read_list[0].approval, read_list[1].approval),
            (McpApproval::Always, McpApproval::Writes)
        );
        assert!(!format!("{read_list:?}").contains("s3cret"), "{read_list:?}");
        for (text, fault) in [
            ("[", "not JSON"),
            ("[]", "not an object"),
            (r#"{"a b": {"command": "x"}}"#, "letters"),
            (r#"{"a": {}}"#, "`command` or `url`"),
            (r#"{"a": {"command": "s3cret", "url": "https://s3cret"}}"#, "either"),
            (r#"{"a": {"url": "s3cret"}}"#, "http"),
            (r#"{"a": {"command": "x", "env": {"T": 7}}}"#, "`env.T`"),
            (r#"{"a": {"command": "x", "comand": 7}}"#, "`comand` is unknown"),
            (r#"{"a": {"command": "x", "env": {"T": "${NO_SUCH_VARIABLE_HERE}"}}}"#, "NO_SUCH_VARIABLE_HERE"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(fault) && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn variables_are_expanded() {
        assert_eq!(
            expanded("a ${CARGO_PKG_NAME} ${env:CARGO_PKG_NAME}$b").unwrap(),
            "a agent-server agent-server$b"
        );
    }
}
