//! The date and time tool.
#![cfg(feature = "time")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use agent_core::{
    model::ToolCall,
    tool::{ToolContext, ToolError, ToolOutput, ToolRegistry},
};
use agent_tools::DateTime;
use serde_json::{Value, json};

async fn ask(args: Value) -> Result<Value, ToolError> {
    let tool =
        DateTime::in_zone("Asia/Seoul").unwrap().with_clock(|| "2026-11-20T23:30:00Z".parse().unwrap());
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    match tools.prepare(ToolCall::new("date_time", &args))?.run(&ToolContext::detached()).await? {
        ToolOutput::Json(value) => Ok(value),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn now_is_told_in_the_zone() {
    let now = ask(json!({})).await.unwrap();
    assert_eq!(
        now,
        json!({
            "time": "2026-11-21T08:30:00+09:00[Asia/Seoul]", "weekday": "Saturday", "week": "2026-W47",
            "day_of_year": 325, "unix": 1_795_217_400,
        })
    );
    assert_eq!(ask(json!({ "timezone": "UTC" })).await.unwrap()["time"], "2026-11-20T23:30:00+00:00[UTC]");
}

#[tokio::test]
async fn dates_are_added_to_by_the_calendar_and_across_clock_changes() {
    let added = |from: &str, add: &str, zone: &str| {
        let args = json!({ "from": from, "add": add, "timezone": zone });
        async { ask(args).await.unwrap()["time"].as_str().unwrap().to_owned() }
    };
    assert_eq!(added("2026-01-31", "P1M", "Asia/Seoul").await, "2026-02-28T00:00:00+09:00[Asia/Seoul]");
    assert_eq!(added("2024-02-29T10:00", "1 year", "UTC").await, "2025-02-28T10:00:00+00:00[UTC]");
    assert_eq!(
        added("2026-03-28T12:00", "1 day", "Europe/Berlin").await,
        "2026-03-29T12:00:00+02:00[Europe/Berlin]"
    );
    assert_eq!(
        added("2026-03-28T12:00", "24h", "Europe/Berlin").await,
        "2026-03-29T13:00:00+02:00[Europe/Berlin]"
    );
    assert_eq!(
        added("2026-11-21T00:30:00Z", "-2h 30m", "Asia/Seoul").await,
        "2026-11-21T07:00:00+09:00[Asia/Seoul]"
    );
}

#[tokio::test]
async fn a_difference_is_told_in_both_directions() {
    let later =
        ask(json!({ "from": "2026-11-21", "until": "2027-01-01T12:00" })).await.unwrap()["until"].clone();
    assert_eq!(later, json!({ "calendar": "P1M11DT12H", "whole_days": 41, "seconds": 3_585_600 }));
    let earlier = ask(json!({ "from": "2027-01-01", "until": "2026-12-31" })).await.unwrap()["until"].clone();
    assert_eq!(earlier, json!({ "calendar": "-P1D", "whole_days": -1, "seconds": -86_400 }));
}

#[tokio::test]
async fn nonsense_is_told_in_words() {
    for args in [
        json!({ "from": "내일" }),
        json!({ "timezone": "Mars/Olympus" }),
        json!({ "add": "soon" }),
        json!({ "from": "9999-12-31", "add": "P1Y" }),
        json!({ "until": "x".repeat(10_000) }),
    ] {
        assert!(ask(args.clone()).await.is_err(), "{args}");
    }
}
