//! Configuration: precedence of the sources, faults, secrets, and the effects of settings.

use agent_core::secret::Secret;
use agent_server::{
    Config,
    config::{AccessMode, ConfigError, Database, Sources},
};
use serde_json::Value;

use crate::support::Home;

fn environment(said: &[(&str, &str)]) -> Sources {
    let said: Vec<(String, String)> =
        said.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Sources::none()
        .environment(move |name| said.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone()))
}

fn read(said: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::read(&environment(said))
}

#[test]
fn nothing_said_gives_the_defaults_of_the_contracts() {
    let config = read(&[]).unwrap();
    assert_eq!((config.host.to_string().as_str(), config.port), ("0.0.0.0", 8000));
    assert_eq!((config.model_name.as_str(), config.temperature), ("gpt-4o-mini", 0.7));
    assert_eq!(config.vllm_url, "http://localhost:8000");
    assert_eq!(config.vllm_model, "Qwen/Qwen2.5-7B-Instruct");
    assert_eq!(config.store(), Database::File("agent.db".into()));
    assert!(config.model().is_none() && config.vllm().is_none() && !config.debug);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[tokio::test]
async fn the_later_source_wins_and_each_value_says_where_it_is_from() {
    let home = Home::new();
    let all =
        "API_PORT=1\nMAX_CONNECTIONS=1\nBODY_BYTES=1KiB\nFRAME_BYTES=1KiB\nDEBUG=\nDEFAULT_LLM_MODEL=한글\n";
    home.write(".env", all);
    home.write("agent-server.toml", "body_bytes = 3072\n[limits]\nframe_bytes = \"3KiB\"\n");
    let variables = [("MAX_CONNECTIONS", "2"), ("BODY_BYTES", "2KiB"), ("FRAME_BYTES", "2KiB")];
    let said = home.with(&variables, &["--print-config", "--json", "serve", "--frame-bytes", "4KiB"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let held = said.json();
    let of = |name: &str| {
        let text = |part: &str| held[name][part].as_str().unwrap_or_default().to_owned();
        (text("value"), text("from"))
    };
    let pair = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    assert_eq!(of("API_PORT"), pair("1", ".env"));
    assert_eq!(of("MAX_CONNECTIONS"), pair("2", "environment"));
    assert_eq!(of("BODY_BYTES"), pair("3072", "agent-server.toml:1"));
    assert_eq!(of("FRAME_BYTES"), pair("4KiB", "flag"));
    assert_eq!(of("DEBUG"), pair("false", "default"), "an empty text is not set");
    assert_eq!(of("DEFAULT_LLM_MODEL"), pair("한글", ".env"));
    assert_eq!(held["OPENAI_BASE_URL"]["value"], Value::Null);
}

#[tokio::test]
async fn every_fault_is_told_at_once_with_its_place_and_without_its_value() {
    let home = Home::new();
    home.write(
        "my.toml",
        "api_prot = 3\n[server]\nallowed_origins = [\"private-value\"]\nmax_runs = 5\n[modle]\nx = 1\n[operations]\nlog_format = 'private-value'\n",
    );
    let said = home
        .with(
            &[("DEBUG", "private-value")],
            &["--config", "my.toml", "--llm-temperature", "9", "--ping-seconds=x"],
        )
        .await;
    assert_eq!(said.code, 2);
    for reported in [
        "`api_prot` (my.toml:1) is not a setting; did you mean `api_port`?",
        "ALLOWED_ORIGINS (my.toml:3)",
        "`max_runs` (my.toml:4) belongs to [limits], not to [server]",
        "[modle] (my.toml:5) is not a section; did you mean [model]?",
        "LOG_FORMAT (my.toml:8) must be `text` or `json`",
        "DEBUG (environment) must be `true` or `false`",
        "LLM_TEMPERATURE (flag) must be a number from 0 to 2",
        "PING_SECONDS (flag)",
    ] {
        assert!(said.err.contains(reported), "{reported} is not in {}", said.err);
    }
    let origins = said.err.lines().find(|line| line.contains("ALLOWED_ORIGINS")).unwrap();
    assert_eq!(said.err.replace(origins, "").matches("private-value").count(), 0, "{}", said.err);
    let said = home.do_(&["--api-prot", "1"]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("--api-port"), "{}", said.err);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stops_the_start_and_shows_nothing_of_it() {
    let home = Home::new();
    home.write("broken.toml", "debug = true\nopenai_api_key = \"sk-very-private\n");
    let said = home.do_(&["--config", "broken.toml"]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("broken.toml:2") && !said.err.contains("private"), "{}", said.err);
    assert_eq!(home.do_(&["--config", "missing.toml"]).await.code, 2);
    home.write(".env", "OPENAI_API_KEY=x\nsk very private\n");
    let said = home.do_(&["--print-config"]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains(".env:2)") && !said.err.contains("private"), "{}", said.err);
}

#[tokio::test]
async fn dot_env_is_read_as_python_dotenv_reads_it() {
    let home = Home::new();
    home.write(
        ".env",
        "\u{feff}# LLM 설정\nBASE=gpt\nexport DEFAULT_LLM_MODEL = ${BASE} 4o $mini # c\r\nALLOWED_ORIGINS=[\"http://a.example\"]\n\
         DATABASE_PATH='a b.db'\nVLLM_MODEL=\"two\nlines\"\n",
    );
    let said = home.do_(&["--print-config", "--json"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let held = said.json();
    assert_eq!(held["DEFAULT_LLM_MODEL"]["value"], "gpt 4o $mini");
    assert_eq!(held["DATABASE_PATH"]["value"], "a b.db");
    assert_eq!(held["VLLM_MODEL"]["value"], "two\nlines");
    assert_eq!(held["ALLOWED_ORIGINS"]["value"], r#"["http://a.example"]"#);
}

#[test]
fn port_counts_where_api_port_is_not_set() {
    assert_eq!(read(&[("PORT", "9000")]).unwrap().port, 9000);
    assert_eq!(read(&[("PORT", "9000"), ("API_PORT", "9001")]).unwrap().port, 9001);
    let sources = environment(&[("PORT", "9000")]).flag("API_PORT", "9002");
    assert_eq!(Config::read(&sources).unwrap().port, 9002);
}

#[test]
fn an_alias_in_a_stronger_source_does_not_replace_the_setting_itself() {
    let sources = environment(&[("DATABASE_PATH", "own.db")]).flag("CHECKPOINT_DB", "alias.db");
    assert_eq!(Config::read(&sources).unwrap().store(), Database::File("own.db".into()));
}

#[tokio::test]
async fn a_near_miss_in_dot_env_is_a_warning_and_other_programs_variables_are_not() {
    let home = Home::new();
    home.write(".env", "API_PROT=3\nVITE_TITLE=x\n");
    // No port is needed: the address does not belong to this machine.
    let said = home.do_(&["--api-host", "192.0.2.1", "--api-port", "0"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("API_PROT, which is not a setting; did you mean API_PORT?"), "{}", said.err);
    assert!(!said.err.contains("VITE_TITLE"), "{}", said.err);
    assert!(said.err.contains("cannot listen on"), "{}", said.err);
}

#[tokio::test]
async fn secrets_are_read_from_files_and_shown_nowhere() {
    let home = Home::new();
    home.write("key", "sk-very-private\n");
    home.write("keys", "# people\nana:0123456789abcdef-private\n\n민수:fedcba9876543210-private\n");
    let variables = [("JWT_SECRET_KEY", "very-private-very-private-very-private"), ("API_KEYS_FILE", "keys")];
    let args = ["--print-config", "--openai-api-key-file", "key", "--database-url-file", "key"];
    let said = home.with(&variables, &args[..3]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.out.contains("private"), "{}", said.out);
    assert!(said.out.contains("OPENAI_API_KEY") && said.out.contains("***"), "{}", said.out);
    let wrong = home.with(&variables, &args).await;
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("DATABASE_URL") && !wrong.err.contains("private"), "{}", wrong.err);

    let config =
        read(&[("API_KEYS", "ana:0123456789abcdef-private"), ("OPENAI_API_KEY", "sk-private")]).unwrap();
    assert_eq!(config.api_keys.as_ref().unwrap()[0].name, "ana");
    assert!(!format!("{config:?} {}", config.to_text()).contains("private"));
    for wrong in
        ["ana", "ana:short", "ana:0123456789abcdef,ana:0123456789abcdef", "a b:0123456789abcdef", ","]
    {
        let error = read(&[("API_KEYS", wrong)]).unwrap_err();
        assert!(error.to_string().contains("API_KEYS (environment)"), "{wrong}: {error}");
    }
    let both = read(&[("WEBHOOK_SECRET", "a"), ("WEBHOOK_SECRET_FILE", "b")]).unwrap_err();
    assert!(both.to_string().contains("keep one"), "{both}");
}

#[test]
fn the_model_follows_from_its_name_and_the_keys() {
    let at = |said: &[(&str, &str)]| read(said).unwrap().model().map(|model| (model.url, model.model));
    let here = |url: &str, model: &str| Some((Some(url.to_owned()), model.to_owned()));
    let (openai, claude, gemini) =
        (("OPENAI_API_KEY", "k"), ("ANTHROPIC_API_KEY", "k"), ("GEMINI_API_KEY", "k"));
    assert_eq!(at(&[openai]), Some((None, "gpt-4o-mini".to_owned())));
    assert_eq!(at(&[openai, ("USE_MOCK_DATA", "true")]), None);
    let mock = read(&[("VLLM_BASE_URL", "http://gpu:8000"), ("USE_MOCK_DATA", "true")]).unwrap();
    assert_eq!(mock.vllm().unwrap().url.as_deref(), Some("http://gpu:8000/v1"));
    let local = ("OPENAI_BASE_URL", "http://localhost:1/v1/");
    assert_eq!(at(&[local]), here("http://localhost:1/v1", "gpt-4o-mini"));
    let name = ("DEFAULT_LLM_MODEL", "claude-sonnet-4-5");
    assert_eq!(at(&[openai, claude, name]), here("https://api.anthropic.com/v1", name.1));
    assert_eq!(at(&[claude, name, local]), here("http://localhost:1/v1", name.1));
    let name = ("DEFAULT_LLM_MODEL", "gemini-2.5-flash");
    assert!(at(&[gemini, name]).unwrap().0.unwrap().contains("googleapis"));
    // A key that no model uses causes a warning.
    let idle = read(&[claude]).unwrap();
    assert!(idle.model().is_none() && idle.warnings[0].contains("ANTHROPIC_API_KEY"), "{:?}", idle.warnings);
    let vllm = read(&[("VLLM_BASE_URL", "http://gpu:8000/")]).unwrap().vllm().unwrap();
    assert_eq!(vllm.url.as_deref(), Some("http://gpu:8000/v1"));
    assert!(read(&[("OPENAI_BASE_URL", "http://name:word@host/v1")]).is_err());
}

#[test]
fn who_must_show_a_key_follows_from_auth_and_what_can_be_shown() {
    let guard = |said: &[(&str, &str)]| read(said).map(|config| config.access_mode());
    let key = ("API_KEYS", "ana:0123456789abcdef");
    assert_eq!(guard(&[]).unwrap(), AccessMode::RemoteRejected);
    assert_eq!(guard(&[key]).unwrap(), AccessMode::All);
    assert_eq!(guard(&[("JWT_SECRET_KEY", "x")]).unwrap(), AccessMode::All);
    assert_eq!(guard(&[key, ("AUTH", "off")]).unwrap(), AccessMode::Open);
    assert!(guard(&[("AUTH", "on")]).is_err());
    let open = read(&[("AUTH", "off")]).unwrap();
    assert!(open.guard_warning().unwrap().contains("AUTH is off"));
    // Access without a key causes a warning even on a local address: a proxy may be in front of the server.
    for said in [&[("AUTH", "off"), ("API_HOST", "localhost")][..], &[("API_HOST", "localhost")], &[]] {
        let warning = read(said).unwrap().guard_warning().unwrap();
        assert!(warning.contains("without a key") && warning.contains("proxy on this machine"), "{warning}");
    }
    assert_eq!(read(&[key, ("API_HOST", "localhost")]).unwrap().guard_warning(), None);
}

#[test]
fn a_database_is_a_file_memory_or_an_address_of_one() {
    let store = |said: &[(&str, &str)]| read(said).unwrap().store();
    assert_eq!(store(&[("CHECKPOINT_DB", ":memory:")]), Database::Memory);
    assert_eq!(
        store(&[("DATABASE_URL", "sqlite:///var/한글.db?mode=rwc")]),
        Database::File("/var/한글.db".into())
    );
    let both = [("DATABASE_URL", "sqlite:a.db"), ("DATABASE_PATH", "b.db")];
    assert_eq!(store(&both), Database::File("b.db".into()));
    let url = |name: &str| Secret::new(format!("postgresql+asyncpg://me:private@host/{name}"));
    let (one, two) = (url("one"), url("two"));
    let postgres = |journals: &Secret, memory: &Secret| Database::Postgres {
        journals: journals.clone(),
        memory: memory.clone(),
    };
    assert_eq!(store(&[("CHECKPOINT_DB_URI", one.expose())]), postgres(&one, &one), "it serves for both");
    assert_eq!(store(&[("DATABASE_URL", two.expose())]), postgres(&two, &two), "it serves for both");
    let both = [("CHECKPOINT_DB_URI", one.expose()), ("DATABASE_URL", two.expose())];
    assert_eq!(store(&both), postgres(&one, &two));
    let three = [("CHECKPOINT_DB_URI", one.expose()), ("DATABASE_PATH", "b.db")];
    let config = read(&three).unwrap();
    assert_eq!(config.store(), Database::File("b.db".into()));
    assert!(config.warnings[0].contains("CHECKPOINT_DB_URI") && !config.warnings[0].contains("private"));
    assert!(read(&[("DATABASE_URL", "mysql://x")]).is_err());
}

#[test]
fn admins_proxies_and_hosts_are_lists_and_what_fits_to_nothing_is_told() {
    let keys = ("API_KEYS", "ana:0123456789abcdef,민수:fedcba9876543210");
    let config = read(&[keys, ("API_ADMINS", "key:민수, token:auth0|7")]).unwrap();
    let admins: Vec<String> = config.admins.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(admins, ["key:민수", "token:auth0|7"]);
    let reported = |said: &[(&str, &str)]| read(said).unwrap_err().to_string();
    for wrong in ["ana", "key:", "admin:ana"] {
        assert!(reported(&[keys, ("API_ADMINS", wrong)]).contains("`key:NAME` or `token:SUB`"), "{wrong}");
    }
    assert!(reported(&[keys, ("API_ADMINS", "key:bob")]).contains("has no key with this name"));
    assert!(reported(&[("TRUSTED_PROXIES", "10.0.0.0/8, proxy.example")]).contains("`proxy.example`"));
    assert!(reported(&[("PROXY_HEADER", "x-real-ip")]).contains("`x-forwarded-for` or `forwarded`"));
    assert!(reported(&[("WEBHOOK_HOSTS", "http://hooks.internal/")]).contains("without port"));
    assert!(reported(&[("WEBHOOK_HOSTS", "hooks.internal:80")]).contains("without port"));
    let lists = [
        ("TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("WEBHOOK_HOSTS", "hooks.internal, 10.1.1.1, [::1], fd00:0::1"),
    ];
    let hosts = read(&lists).unwrap().webhook_hosts.unwrap();
    assert_eq!(hosts, ["hooks.internal", "10.1.1.1", "::1", "fd00::1"]);
}

#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn an_address_for_traces_stops_a_build_that_sends_none() {
    let home = Home::new();
    let address = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")];
    for command in ["serve", "run"] {
        let said = home.with(&address, &[command]).await;
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT is set"), "{said:?}");
        assert!(said.err.contains("build with `--features otlp`"), "{said:?}");
    }
}

#[tokio::test]
async fn the_headers_for_a_collector_are_hidden_and_checked() {
    let home = Home::new();
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc-123,x-team=korea")];
    let said = home.with(&variables, &["--print-config"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("OTEL_EXPORTER_OTLP_HEADERS") && !said.out.contains("abc-123"), "{said:?}");
    let config = read(&variables).unwrap();
    assert!(!format!("{config:?}").contains("abc-123"));
    let wrong = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "abc-123")]).unwrap_err().to_string();
    assert!(wrong.contains("OTEL_EXPORTER_OTLP_HEADERS") && !wrong.contains("abc-123"), "{wrong}");
    assert!(read(&[("OTEL_TRACES_SAMPLER_ARG", "1.5")]).is_err());
}
