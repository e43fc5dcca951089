//! `/schedules`: runs at the times of a cron expression or once, their owners, and what is refused.

use std::{sync::Arc, time::Duration};

use agent_core::{
    clock::{Clock, ManualClock},
    journal::InMemoryJournal,
};
use agent_server::Auth;
use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    Here, Reply,
    agent::{Puppeteer, puppet},
};

const START: i64 = 1_772_355_600_000; // 2026-03-01T09:00:00Z

async fn here(clock: &Arc<ManualClock>, auth: Option<Auth>) -> Here {
    let store = Arc::new(InMemoryJournal::new());
    let runtime = puppet().0.journal(store).clock(Arc::clone(clock) as Arc<dyn Clock>);
    Here::kept(runtime, |server| match auth {
        Some(auth) => server.agent(Puppeteer).auth(auth),
        None => server.agent(Puppeteer),
    })
    .await
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(START))
}

#[tokio::test]
async fn a_schedule_starts_its_run_in_time_and_is_shown_and_deleted() {
    let clock = clock();
    let here = here(&clock, None).await;
    let body = json!({
        "schedule_id": "daily", "cron": "0 9 * * MON-FRI", "time_zone": "Asia/Seoul", "message": "안녕 🌸",
    });
    let made = here.post("/schedules", body.clone()).await;
    assert_eq!(made.status, 200, "{made:?}");
    let wanted = json!({
        "schedule_id": "daily", "title": "안녕 🌸", "agent": "puppet", "cron": "0 9 * * MON-FRI",
        "time_zone": "Asia/Seoul", "next_run_at": "2026-03-02T00:00:00.000Z", "fired": 0, "last": null, "status": "paused",
        "session_id": "schedule-daily",
    });
    assert_eq!(made.body, wanted);
    assert_eq!(here.post("/schedules", body).await.refusal(), (409, "schedule_exists"));
    assert_eq!(here.get("/schedules").await.body, json!({"schedules": [wanted]}));

    // The time comes: the timer is ended, as it ends at its time.
    clock.set(START + 15 * 3_600_000 + 60_000);
    let timer = here.get("/status/schedule-daily").await.body["data"]["questions"][0].clone();
    assert_eq!((&timer["kind"], &timer["deadline"]), (&json!("timer"), &json!("2026-03-02T00:00:00.000Z")));
    let answer = here.post("/resume/schedule-daily", json!({"value": "continue", "id": timer["id"]})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let run = here.reaches("daily-20260302T000000Z", "completed").await;
    assert_eq!(run["data"]["response"], "안녕 🌸");
    here.reaches("schedule-daily", "paused").await;
    let shown = here.get("/schedules/daily").await.body;
    assert_eq!((&shown["fired"], &shown["next_run_at"]), (&json!(1), &json!("2026-03-03T00:00:00.000Z")));
    assert_eq!(shown["last"]["session_id"], "daily-20260302T000000Z");
    let sessions = here.get("/sessions").await.body;
    assert_eq!(
        sessions["sessions"].as_array().unwrap().len(),
        1,
        "the schedule is no conversation: {sessions}"
    );

    assert_eq!(here.send(Method::DELETE, "/schedules/daily", &[], "").await.status, 204);
    assert_eq!(here.get("/schedules/daily").await.refusal(), (404, "schedule_not_found"));
    let again = here.send(Method::DELETE, "/schedules/daily", &[], "").await;
    assert_eq!(again.refusal(), (404, "schedule_not_found"));
}

#[tokio::test]
async fn a_single_run_starts_at_its_time_without_a_request() {
    let here = Here::of(puppet().0, Puppeteer, |_| {}).await;
    let at = jiff::Timestamp::now() + Duration::from_millis(50);
    let made =
        here.post("/schedules", json!({"run_at": at.to_string(), "message": "now", "session_id": "s"})).await;
    assert_eq!(made.status, 200, "{made:?}");
    let run = here.reaches("s", "completed").await;
    assert_eq!(run["data"]["response"], "now");
    let session = made.body["session_id"].as_str().unwrap();
    here.reaches(session, "completed").await;
    let shown = here.get("/schedules").await.body["schedules"][0].clone();
    assert_eq!((&shown["status"], &shown["next_run_at"]), (&json!("completed"), &Value::Null));
}

#[tokio::test]
async fn invalid_schedules_are_refused_by_name() {
    let here = here(&clock(), None).await;
    for (body, code, words) in [
        (json!({"cron": "* * * * *"}), "empty_message", "`message`"),
        (json!({"message": "x"}), "invalid_schedule", "`cron` or `run_at`"),
        (json!({"message": "x", "cron": "* * *"}), "invalid_schedule", "3 fields"),
        (json!({"message": "x", "cron": "99 * * * *"}), "invalid_schedule", "99"),
        (json!({"message": "x", "cron": "0 0 30 2 *"}), "invalid_schedule", "no time in the future"),
        (json!({"message": "x", "cron": "0 9 * * *", "time_zone": "Seoul"}), "invalid_schedule", "Seoul"),
        (
            json!({"message": "x", "cron": "* * * * *", "run_at": "2030-01-01T00:00:00Z"}),
            "invalid_schedule",
            "either",
        ),
        (json!({"message": "x", "run_at": "tomorrow"}), "invalid_schedule", "`run_at` must be"),
        (json!({"message": "x", "run_at": "2030-01-01T00:00:00"}), "invalid_schedule", "`run_at` must be"),
        (
            json!({"message": "x", "run_at": "2001-01-01T00:00:00Z"}),
            "invalid_schedule",
            "no time in the future",
        ),
        (json!({"message": "x", "cron": "* * * * *", "schedule_id": "a b"}), "invalid_request", "not a name"),
        (json!({"message": "x", "cron": "* * * * *", "session_id": "a b"}), "invalid_session_id", ""),
        (json!({"message": "x", "cron": "* * * * *", "agent": "none"}), "unknown_agent", "puppet"),
        (json!({"message": "x", "crom": "* * * * *"}), "invalid_request", "`cron`"),
        (json!({"message": "x", "cron": 5}), "invalid_request", "`cron`"),
    ] {
        let reply = here.post("/schedules", body.clone()).await;
        assert_eq!(reply.refusal(), (400, code), "{body}: {reply:?}");
        assert!(reply.body["detail"].as_str().unwrap().contains(words), "{body}: {reply:?}");
    }
    assert_eq!(here.get("/schedules").await.body, json!({"schedules": []}));
}

#[tokio::test]
async fn schedules_belong_to_their_owner_as_do_their_runs() {
    const ALICE: &str = "Bearer alice-has-a-key-of-her-own";
    const BOB: &str = "Bearer bob-has-a-key-of-his-own";
    let key = |header: &str| header.trim_start_matches("Bearer ").into();
    let auth = Auth::required().key("alice", key(ALICE)).unwrap().key("bob", key(BOB)).unwrap();
    let clock = clock();
    let here = here(&clock, Some(auth)).await;
    let by = async |who: &str, method: Method, path: &str, body: Value| -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        here.send(method, path, &[("authorization", who)], body).await
    };
    let body = json!({"schedule_id": "hourly", "cron": "0 * * * *", "message": "alice's"});
    assert_eq!(by(ALICE, Method::POST, "/schedules", body.clone()).await.status, 200);
    assert_eq!(by(BOB, Method::POST, "/schedules", body).await.refusal(), (404, "schedule_not_found"));
    for method in [Method::GET, Method::DELETE] {
        let reply = by(BOB, method, "/schedules/hourly", Value::Null).await;
        assert_eq!(reply.refusal(), (404, "schedule_not_found"));
    }
    assert_eq!(by(BOB, Method::GET, "/schedules", Value::Null).await.body, json!({"schedules": []}));
    clock.set(START + 3_600_000);
    let status = by(ALICE, Method::GET, "/status/schedule-hourly", Value::Null).await;
    let timer = &status.body["data"]["questions"][0]["id"];
    let answer = json!({"value": 1, "id": timer});
    assert_eq!(by(ALICE, Method::POST, "/resume/schedule-hourly", answer).await.status, 200);
    let run = "/status/hourly-20260301T100000Z";
    while by(ALICE, Method::GET, run, Value::Null).await.body["status"] != "completed" {
        tokio::task::yield_now().await;
    }
    assert_eq!(by(BOB, Method::GET, run, Value::Null).await.status, 404);
    // Bob's schedule cannot run in Alice's session.
    let body = json!({"cron": "0 * * * *", "message": "x", "session_id": "hourly-20260301T100000Z"});
    assert_eq!(by(BOB, Method::POST, "/schedules", body).await.refusal(), (404, "session_not_found"));
}
