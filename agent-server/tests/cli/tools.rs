//! The commands that read a journal, each with a real session.

use serde_json::{Value, json};

use crate::support::{Home, Said};

fn find<'a>(list: &'a Value, name: &str, value: &Value) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item[name] == *value);
    found.unwrap_or_else(|| panic!("no {name} {value} in {list}"))
}

async fn json(home: &Home, args: &[&str]) -> Value {
    let said = home.do_(args).await;
    assert_eq!(said.code, 0, "{said:?}");
    said.json()
}

#[tokio::test]
async fn sessions_are_listed_for_people_and_programs() {
    let home = Home::with_session().await;
    let list = json(&home, &["sessions", "--json"]).await;
    assert_eq!(find(&list, "session_id", &json!("s"))["status"], "completed");
    assert_eq!(json(&home, &["sessions", "--json", "--status", "failed"]).await, json!([]));
    let said = home.do_(&["sessions"]).await;
    let (head, row) = said.out.split_once('\n').unwrap();
    assert_eq!(head.find("STATUS"), row.find("completed"), "{}", said.out);
    assert_eq!(head.find("TITLE"), row.find(list[0]["title"].as_str().unwrap()), "{}", said.out);
    assert!(!said.out.contains('\u{1b}'), "no colours without a terminal");
}

#[tokio::test]
async fn two_places_of_a_session_are_compared() {
    let home = Home::with_session().await;
    let places = json(&home, &["history", "s", "--json"]).await;
    let write = find(&places, "next", &json!(["write"]))["seq"].to_string();
    let audience = find(&places, "next", &json!(["audience"]))["seq"].to_string();
    let changes = json(&home, &["diff", "s", &audience, &write, "--json"]).await;
    let change = find(&changes, "path", &json!("/state/audience"));
    assert_eq!((&change["from"], &change["to"]), (&Value::Null, &json!("buyers")));
    let said = home.do_(&["diff", "s", &write, &write]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "no changes\n"));
}

#[tokio::test]
async fn a_fork_goes_its_own_way_and_the_first_stays_as_it_is() {
    let home = Home::with_session().await;
    let places = json(&home, &["history", "s", "--json"]).await;
    let audience = find(&places, "next", &json!(["audience"]))["seq"].to_string();
    let fork = json(&home, &["fork", "s", &audience, "t", "--json"]).await;
    assert_eq!(fork["session_id"], "t");
    let taken = home.do_(&["fork", "s", &audience, "t"]).await;
    assert_eq!(taken.code, 1);
    assert!(taken.err.contains("exists already"), "{}", taken.err);
    // The other answer; what was collected is not collected again.
    let said = home.say(&["run", "--session", "t"], "2\n").await;
    assert_eq!(said.code, 0, "{said:?}");
    let before = home.do_(&["run", "--session", "s"]).await.out;
    assert_ne!(said.out, before);
    let steps = |said: Said| said.out.lines().filter(|line| line.contains("`collect`")).count();
    assert_eq!(steps(home.do_(&["replay", "t"]).await), 1);
}

#[tokio::test]
async fn why_names_the_task_and_the_answer_that_it_had() {
    let home = Home::with_session().await;
    let causes = json(&home, &["why", "s", "audience", "--json"]).await;
    let last = causes.as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["value"]), (&json!("node"), &json!("buyers")));
    assert!(last["by"].as_str().unwrap().starts_with("audience#"));
    assert!(last["from"][0][1].as_str().unwrap().contains("by the terminal"), "{last}");
    let answer = find(&causes, "kind", &json!("answer"));
    assert_eq!((&answer["value"], &answer["seq"]), (&json!("소비자"), &last["from"][0][0]));
    assert_eq!(find(&causes, "kind", &json!("input"))["value"], Value::Null);
    // A step inside a subgraph, and a name that nothing has.
    let steps = json(&home, &["why", "s", "topics", "--json"]).await;
    assert!(steps[0]["by"].as_str().unwrap().starts_with("study#"), "{steps}");
    assert_eq!(home.do_(&["why", "s", "no-such"]).await.code, 1);
}

#[tokio::test]
async fn a_replay_is_the_whole_stream_in_order_and_can_begin_anywhere() {
    let home = Home::with_session().await;
    let lines = |said: Said| -> Vec<Value> {
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(home.do_(&["replay", "s", "--json"]).await);
    let numbers: Vec<u64> = all.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers[0] == 1, "{numbers:?}");
    assert_eq!(all.last().unwrap()["type"], "run_completed");
    let rest = lines(home.do_(&["replay", "s", "--json", "--after", "10", "--speed", "1000"]).await);
    assert_eq!(rest, all[10..]);
    assert!(lines(home.do_(&["replay", "s", "--json", "--run", "2"]).await).is_empty());
}

#[tokio::test]
async fn a_graph_is_drawn_in_every_format() {
    let home = Home::new();
    let drawn = async |format: &str| home.do_(&["graph", "--format", format]).await.out;
    assert!(drawn("mermaid").await.starts_with("flowchart TD"));
    let outline: Value = serde_json::from_str(&drawn("json").await).unwrap();
    let dot = drawn("dot").await;
    assert!(dot.starts_with("digraph"));
    for node in outline["nodes"].as_array().unwrap().iter().filter(|node| node["kind"] == "node") {
        assert!(dot.contains(node["label"].as_str().unwrap()), "{node}: {dot}");
    }
    assert_eq!(home.do_(&["graph", "nobody"]).await.code, 2);
    assert!(!home.path().join("agent.db").exists(), "a drawing needs no store");
}

#[tokio::test]
async fn a_removed_format_is_refused_with_its_alternatives() {
    let said = Home::new().do_(&["graph", "--format", "svg"]).await;
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    for alternative in ["`mermaid`", "`dot`", "`json`", "dot -Tsvg"] {
        assert!(said.err.contains(alternative), "{}", said.err);
    }
    let help = Home::new().do_(&["graph", "--help"]).await.out;
    assert!(help.contains("[possible values: mermaid, dot, json]"), "{help}");
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_to_do() {
    let home = Home::new();
    let said = home.do_(&["sessions"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("--database-path"), "{}", said.err);
    assert!(!home.path().join("agent.db").exists(), "looking makes no file");
    let home = Home::with_session().await;
    for (args, reported) in [
        (&["history", "nope"][..], "agent-server sessions"),
        (&["replay", "nope"], "agent-server sessions"),
        (&["why", "nope", "x"], "agent-server sessions"),
        (&["fork", "s", "9999"], "agent-server history s"),
        (&["diff", "s", "1", "9999"], "agent-server history s"),
        (&["run", "--session", "nope"], "agent-server sessions"),
    ] {
        let said = home.do_(args).await;
        assert_eq!(said.code, 1, "{args:?}: {said:?}");
        assert_eq!(said.err.lines().filter(|line| line.starts_with("agent-server: ")).count(), 1);
        assert!(said.err.contains(reported), "{args:?}: {}", said.err);
    }
    home.write(
        "text.db",
        "this is no database, but it is longer than a header of one would be, by far, so far",
    );
    let said = home.do_(&["sessions", "--database-path", "text.db"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("text.db"), "{}", said.err);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::with_session().await;
    let mut child = home.command(&["replay", "s"]).spawn().unwrap();
    drop(child.stdout.take());
    let said = crate::support::end(child, b"").await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[tokio::test]
async fn sessions_move_between_databases_and_damage_is_found() {
    let home = Home::with_session().await;
    let before = home.do_(&["replay", "s", "--json"]).await.out;
    let done = json(&home, &["export", "archive.db", "--json"]).await;
    assert_eq!((&done["copied"], &done["failed"]), (&json!(1), &json!([])), "{done}");
    let again = json(&home, &["export", "archive.db", "s", "--json"]).await;
    assert_eq!((&again["copied"], &again["unchanged"]), (&json!(0), &json!(1)));

    // Another installation continues the session.
    let other = ["--database-path", "other.db"];
    let done = home.do_(&["import", "archive.db", other[0], other[1]]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.starts_with("copied and verified: 1 sessions ("), "{}", done.out);
    assert_eq!(home.do_(&["replay", "s", "--json", other[0], other[1]]).await.out, before);
    let said =
        home.say(&["run", "--session", "s", "이번엔 마케터용으로 다시 써줘", other[0], other[1]], "").await;
    assert_eq!(said.code, 0, "{said:?}");
    let differs = home.do_(&["import", "archive.db", other[0], other[1]]).await;
    assert_eq!(differs.code, 1);
    assert!(differs.out.contains("the target has another session `s`"), "{}", differs.out);

    let found = json(&home, &["verify", "--json"]).await;
    assert_eq!((&found["sessions"], &found["faults"]), (&json!(1), &json!([])));
    let db = rusqlite::Connection::open(home.path().join("agent.db")).unwrap();
    db.execute("DELETE FROM entry WHERE key = (SELECT max(key) FROM entry)", []).unwrap();
    drop(db);
    let broken = home.do_(&["verify"]).await;
    assert_eq!(broken.code, 1);
    assert!(broken.out.starts_with("s: "), "{}", broken.out);
    assert!(broken.out.contains("readable: 0 sessions"), "{}", broken.out);

    let nowhere = home.do_(&["migrate", "archive.db"]).await;
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.err.contains("no PostgreSQL database is configured"), "{}", nowhere.err);
    assert_eq!(home.do_(&["import", "no-such.db"]).await.code, 1);
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn one_command_moves_all_sessions_from_sqlite_to_postgresql() {
    let home = Home::with_session().await;
    let paused = home.do_(&["run", crate::support::ASK, "--session", "waits"]).await;
    assert_ne!(paused.code, 0, "it waits for an answer: {paused:?}");
    let before = home.do_(&["replay", "s", "--json"]).await.out;

    let cluster = agent_postgres::testing::Cluster::start();
    let address = cluster.address(&cluster.database());
    let there = [("CHECKPOINT_DB_URI", address.expose())];
    for (copied, unchanged) in [(2, 0), (0, 2)] {
        let said = home.with(&there, &["migrate", "agent.db", "--json"]).await;
        assert_eq!(said.code, 0, "{said:?}");
        let done = said.json();
        assert_eq!((&done["copied"], &done["unchanged"]), (&json!(copied), &json!(unchanged)), "{done}");
        assert_eq!(done["memory_items"], 0);
    }
    assert_eq!(home.with(&there, &["verify", "--json"]).await.json()["sessions"], 2);
    assert_eq!(home.with(&there, &["replay", "s", "--json"]).await.out, before);
    let list = home.with(&there, &["sessions", "--json"]).await.json();
    assert_eq!(find(&list, "session_id", &json!("waits"))["status"], "paused");
}

#[tokio::test]
async fn recorded_sessions_are_replayed_against_this_program_without_a_call() {
    let home = Home::with_session().await;
    home.do_(&["export", "recorded.db"]).await;
    let said = home.do_(&["replay", "--against", "recorded.db"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("compared: 1 sessions") && said.out.contains("different: 0"), "{said:?}");
    let said = home.do_(&["replay", "--against", "recorded.db", "s", "--json"]).await;
    let report: serde_json::Value = said.json();
    assert_eq!((&report["session"], &report["differences"]), (&"s".into(), &serde_json::json!([])));
    assert!(report["tasks"].as_u64().unwrap() > 3, "{report}");
    assert_eq!(home.do_(&["replay", "--against", "missing.db"]).await.code, 1);
    assert_eq!(home.do_(&["replay", "a", "b"]).await.code, 2);
}

#[tokio::test]
async fn a_replay_that_differs_names_the_task_and_has_the_exit_code_1() {
    let home = Home::with_session().await;
    home.do_(&["export", "recorded.db"]).await;
    // As recorded by a version that understood the answer in another way.
    let db = rusqlite::Connection::open(home.path().join("recorded.db")).unwrap();
    let sql = r#"UPDATE entry SET body = CAST(replace(CAST(body AS TEXT), '"audience":"buyers"', '"audience":"marketers"') AS BLOB)
                 WHERE CAST(body AS TEXT) LIKE '%"task_finished":{"task":"audience#3"%'"#;
    assert_eq!(db.execute(sql, []).unwrap(), 1);
    drop(db);
    let said = home.do_(&["replay", "--against", "recorded.db"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.starts_with("s run-1: audience#3: recorded "), "{}", said.out);
    assert!(said.out.contains("compared: 1 sessions, 6 tasks; different: 1; skipped: 0"), "{}", said.out);
    assert!(said.err.contains("1 sessions behave differently"), "{}", said.err);
    let said = home.do_(&["replay", "--against", "recorded.db", "--json"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.json()["differences"][0]["task"], "audience#3");
}
