//! Schedules: each time starts one run, over restarts, crashes at every append and several processes.

use std::{sync::Arc, time::Duration};

use agent_core::{
    BusyPolicy, Context, END, Graph, Result, RunStatus, Runtime, START,
    clock::{Clock, ManualClock},
    event::EventBody,
    ids::{RunId, Seq},
    journal::{InMemoryJournal, JournalStore, Recent},
    schedule::{GRAPH, ScheduleError, ScheduledRun, Schedules, Timing},
    session::RuntimeBuilder,
};
use serde_json::json;
use tests::{Dying, World, journal, on, within_an_hour};

use super::graph::Trail;

const MINUTE: i64 = 60_000;

/// Counts how often it ran in a session; waits for an answer if `left` is set.
fn report() -> Graph<Trail> {
    Graph::<Trail>::builder("report")
        .node("write", async |state: &Trail, cx: &Context| -> Result<_> {
            cx.get::<Arc<World>>()?.happens(cx.session().as_str());
            if state.left {
                return Ok(Trail::update().sum(cx.ask::<i64>("n?").await?));
            }
            Ok(Trail::update().sum(1))
        })
        .path([START, "write", END])
        .build()
        .unwrap()
}

fn process(builder: RuntimeBuilder, clock: &Arc<ManualClock>, world: &Arc<World>) -> (Runtime, Schedules) {
    let runtime = builder.clock(Arc::clone(clock) as _).provide(Arc::clone(world)).graph(&report()).build();
    let schedules = Schedules::new(&runtime);
    (runtime, schedules)
}

/// Waits until a schedule has fired so often.
async fn fired(runtime: &Runtime, name: &str, times: u64) {
    let session = runtime.session(&format!("schedule-{name}")).unwrap();
    let mut events = session.subscribe(Some(Seq::ZERO));
    let mut count = 0;
    while count < times {
        if let EventBody::NodeFinished(end) = &within_an_hour(events.next()).await.unwrap().body
            && end.node == "fire"
        {
            count += 1;
        }
    }
}

fn every_minute() -> Timing {
    Timing::cron("* * * * *", "UTC").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_schedule_starts_one_run_each_time_and_is_listed_and_deleted() {
    let (inner, clock, world) = (journal(), Arc::new(ManualClock::new(0)), Arc::new(World::default()));
    let (runtime, schedules) = process(on(&inner), &clock, &world);
    let run = ScheduledRun::new("report", json!({ "steps": ["planned"] })).label("owner", "ana");
    let info = schedules.create("r", every_minute(), run.clone()).await.unwrap();
    assert_eq!((info.next, info.fired, info.status), (Some(MINUTE), 0, RunStatus::Paused));
    for minute in 1..=3 {
        clock.set(minute * MINUTE);
        fired(&runtime, "r", minute as u64).await;
    }
    let info = schedules.get("r").await.unwrap();
    assert_eq!((info.next, info.fired), (Some(4 * MINUTE), 3));
    let last = info.last.unwrap();
    assert_eq!((last.due, last.session.as_str(), last.error), (3 * MINUTE, "r-19700101T000300Z", None));
    assert_eq!(world.all().values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    let session = runtime.session("r-19700101T000100Z").unwrap();
    session.wait_status().await.unwrap();
    let labels = session.status().await.unwrap().labels;
    assert_eq!(labels.get("scheduled_by").map(String::as_str), Some("r"));
    assert_eq!(labels.get("owner").map(String::as_str), Some("ana"));
    assert_eq!(session.state::<Trail>().await.unwrap().steps, ["planned"]);

    assert_eq!(schedules.list(None, 10).await.unwrap().len(), 1);
    let sessions = Recent { without: vec![GRAPH.to_owned()], limit: 10, ..Recent::default() };
    assert_eq!(runtime.recent(sessions).await.unwrap().len(), 3);
    let twice = schedules.create("r", every_minute(), run).await.unwrap_err();
    assert!(matches!(twice, ScheduleError::Exists { .. }), "{twice}");
    schedules.delete("r").await.unwrap();
    assert!(schedules.list(None, 10).await.unwrap().is_empty());
    assert!(matches!(schedules.delete("r").await, Err(ScheduleError::NotFound { .. })));
    clock.advance(Duration::from_secs(600));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.all().len(), 3, "a deleted schedule starts nothing");
}

#[tokio::test(start_paused = true)]
async fn a_time_fires_once_wherever_the_process_dies_and_missed_times_fire_once() {
    for (appends, slow) in (1..30).flat_map(|appends| [(appends, false), (appends, true)]) {
        let (inner, clock, world) = (journal(), Arc::new(ManualClock::new(0)), Arc::new(World::default()));
        let dying: Arc<dyn JournalStore> = Dying::at(&inner, appends, slow);
        let (first, schedules) = process(Runtime::builder().journal(dying), &clock, &world);
        let run = ScheduledRun::new("report", json!({}));
        let created = schedules.create("r", every_minute(), run).await;
        clock.set(MINUTE);
        let soon = tokio::time::timeout(Duration::from_secs(300), fired(&first, "r", 1)).await;
        if created.is_err() {
            continue;
        }
        drop((soon, schedules));
        first.shutdown(Duration::ZERO).await;
        // Three minutes later: the times in between are missed.
        clock.set(4 * MINUTE);
        let (second, schedules) = process(on(&inner), &clock, &world);
        second.recover().await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let info = schedules.get("r").await.unwrap();
        assert_eq!(info.next, Some(5 * MINUTE), "{appends} {slow}");
        assert!((1..=2).contains(&info.fired), "{appends} {slow}: {}", info.fired);
        let all = Recent { without: vec![GRAPH.to_owned()], limit: 10, ..Recent::default() };
        let sessions = second.recent(all).await.unwrap();
        assert_eq!(sessions.len() as u64, info.fired, "{appends} {slow}");
        for session in sessions {
            assert_eq!(session.head.summary.run, RunId(1), "{appends} {slow}: one run for a time");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_on_one_store_start_each_run_once() {
    let (inner, clock, world) =
        (Arc::new(InMemoryJournal::new()), Arc::new(ManualClock::new(0)), Arc::default());
    let store = || Runtime::builder().journal(Arc::clone(&inner));
    let (one, schedules) = process(store(), &clock, &world);
    let (two, _) = process(store(), &clock, &world);
    schedules.create("r", every_minute(), ScheduledRun::new("report", json!({}))).await.unwrap();
    for minute in 1..=5 {
        clock.set(minute * MINUTE);
        let (first, second) = tokio::join!(one.sweep(), two.sweep());
        first.and(second).unwrap();
        fired(&one, "r", minute as u64).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.all().values().copied().collect::<Vec<_>>(), [1; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_skips_a_time_or_queues_its_run() {
    for policy in [None, Some(BusyPolicy::Enqueue)] {
        let (inner, clock, world) = (journal(), Arc::new(ManualClock::new(0)), Arc::new(World::default()));
        let (runtime, schedules) = process(on(&inner), &clock, &world);
        let mut run = ScheduledRun::new("report", json!({ "left": true })).session("s".parse().unwrap());
        if let Some(policy) = policy {
            run = run.on_busy(policy);
        }
        schedules.create("r", every_minute(), run).await.unwrap();
        for minute in 1..=2 {
            clock.set(minute * MINUTE);
            fired(&runtime, "r", minute as u64).await;
        }
        let error = schedules.get("r").await.unwrap().last.unwrap().error;
        assert_eq!(error.is_some_and(|error| error.starts_with("session_busy: ")), policy.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_of_one_time_ends_and_invalid_ones_are_refused() {
    let (inner, clock, world) = (journal(), Arc::new(ManualClock::new(10)), Arc::new(World::default()));
    let (runtime, schedules) = process(on(&inner), &clock, &world);
    let run = || ScheduledRun::new("report", json!({}));
    schedules.create("once", Timing::at(MINUTE), run()).await.unwrap();
    clock.set(MINUTE);
    fired(&runtime, "once", 1).await;
    runtime.session("schedule-once").unwrap().wait_status().await.unwrap();
    let info = schedules.get("once").await.unwrap();
    assert_eq!((info.status, info.next, info.fired), (RunStatus::Completed, None, 1));

    let refused = async |name: &str, timing: Timing, run: ScheduledRun| {
        schedules.create(name, timing, run).await.unwrap_err().to_string()
    };
    assert!(refused("past", Timing::at(5), run()).await.contains("no time in the future"));
    let never = Timing::cron("0 0 30 FEB *", "UTC").unwrap();
    assert!(refused("never", never, run()).await.contains("no time in the future"));
    assert!(refused("a b", every_minute(), run()).await.contains("`a b` is not a name"));
    assert!(refused("", every_minute(), run()).await.contains("is not a name"));
    let unknown = ScheduledRun::new("nothing", json!({}));
    assert!(refused("x", every_minute(), unknown).await.contains("`nothing` is not registered"));
    for (expression, zone, reason) in [
        ("* * * *", "UTC", "4 fields"),
        ("* * * * * UTC", "UTC", "6 fields"),
        ("61 * * * *", "UTC", "invalid"),
        ("* * * * *", "Mars/Olympus", "invalid"),
        ("* * * * *", "", "time zone"),
        (&"1,".repeat(100), "UTC", "more than 128"),
    ] {
        let error = Timing::cron(expression, zone).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    // A day on which the clocks change: 2:30 does not exist on 2026-03-29 in Berlin.
    let berlin = Timing::cron("30 2 * * *", "Europe/Berlin").unwrap();
    let before = 1_774_663_200_000; // 2026-03-28T02:00Z
    assert_eq!(berlin.next_after(before), Some(1_774_830_600_000), "2026-03-30T00:30Z");
    assert_eq!(clock.now_ms(), MINUTE);
}
