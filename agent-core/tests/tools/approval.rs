//! Approvals and guardrails.

use super::*;

fn any() -> PreparedCall {
    with(ToolPolicy::default().approval(Approval::Always), async |args, _| Ok(ToolOutput::Json(args)))
}

#[test]
fn approval_is_asked_by_rule_and_a_rule_that_panics_asks() {
    let asks = |policy: ToolPolicy| {
        with(policy, async |_, _| Ok("".into())).approval_for(&StandingApprovals::default())
    };
    assert!(asks(ToolPolicy::default()).is_none());
    assert!(asks(ToolPolicy::default().approval_when(|args| args["n"] == 2)).is_none());
    assert!(asks(ToolPolicy::default().approval_when(|args| args["n"] == 1)).is_some());
    assert!(asks(ToolPolicy::default().approval_when(|_| panic!("bug"))).is_some());
    let shown = any().approval_for(&StandingApprovals::default()).unwrap();
    assert_eq!(
        (shown.call_id.as_str(), shown.tool.as_str(), shown.arguments),
        ("call_1", "t", json!({ "n": 1 }))
    );
}

#[tokio::test]
async fn each_decision_has_its_consequence() {
    let shown = any().approval_for(&StandingApprovals::default()).unwrap();
    let decide =
        |decision: Value| any().decide(&shown, serde_json::from_value::<Decision>(decision).unwrap());
    let Ok(DecisionOutcome::Run(approved)) = decide(json!({ "decision": "approve" })) else { panic!() };
    assert_eq!(approved.run(&ToolContext::detached()).await.unwrap(), ToolOutput::Json(json!({ "n": 1 })));
    let Ok(DecisionOutcome::Run(edited)) = decide(json!({ "decision": "edit", "arguments": { "n": 2 } }))
    else {
        panic!()
    };
    assert_eq!(edited.run(&ToolContext::detached()).await.unwrap(), ToolOutput::Json(json!({ "n": 2 })));
    let bad = decide(json!({ "decision": "edit", "arguments": { "n": "둘" } })).unwrap_err();
    assert_eq!(bad.fault(), ToolFault::BadArguments);
    let Ok(DecisionOutcome::Answer(Err(rejected))) =
        decide(json!({ "decision": "reject", "reason": "너무 비싸다" }))
    else {
        panic!()
    };
    assert_eq!(rejected.for_model(), "the user rejected this call: 너무 비싸다");
    let Ok(DecisionOutcome::Answer(Ok(answer))) =
        decide(json!({ "decision": "respond", "output": "직접 했다" }))
    else {
        panic!()
    };
    assert_eq!(answer, ToolOutput::text("직접 했다"));
    assert!(serde_json::from_value::<Decision>(json!({ "decision": "approve", "arguments": {} })).is_err());
}

#[test]
fn a_decision_counts_only_for_what_was_shown() {
    let mut shown = any().approval_for(&StandingApprovals::default()).unwrap();
    shown.fingerprint = "0".repeat(64);
    assert_eq!(any().decide(&shown, Decision::Approve {}).unwrap_err().fault(), ToolFault::Refused);
}

#[test]
fn an_approval_counts_for_as_much_as_its_policy_says() {
    for (sticky, same, other) in [
        (ApprovalScope::ThisCall, false, false),
        (ApprovalScope::SameArguments, true, false),
        (ApprovalScope::Tool, true, true),
    ] {
        let policy = ToolPolicy::default().approval(Approval::Always).sticky(sticky);
        let tool = DynamicTool::new("t", "", json!({ "type": "object" }), async |_, _| Ok("".into()))
            .with_policy(policy);
        let tools = ToolRegistry::builder().tool(tool).build().unwrap();
        let prepared = |args| tools.prepare(call("t", args)).unwrap();
        let mut remembered = StandingApprovals::default();
        remembered.remember(&prepared(json!({ "a": 1, "b": [2] })));
        let remembered: StandingApprovals =
            serde_json::from_value(serde_json::to_value(&remembered).unwrap()).unwrap();
        let mut reordered = call("t", json!({}));
        reordered.arguments = r#"{"b":[2],"a":1}"#.into();
        assert_eq!(tools.prepare(reordered).unwrap().approval_for(&remembered).is_none(), same);
        assert_eq!(prepared(json!({ "a": 1, "b": [3] })).approval_for(&remembered).is_none(), other);
    }
}

struct Careful;

impl Guardrail for Careful {
    async fn before(&self, _: &str, args: &Value) -> Verdict<Value> {
        match args["n"].as_i64() {
            Some(1) => Verdict::Replace(json!({ "n": 10 })),
            Some(2) => Verdict::Refuse("two is not allowed".into()),
            Some(3) => panic!("bug"),
            Some(4) => Verdict::Replace(json!({ "n": "넷" })),
            _ => Verdict::Allow,
        }
    }
    async fn after(&self, _: &str, output: &ToolOutput) -> Verdict<ToolOutput> {
        match output.to_text().contains("10") {
            true => Verdict::Replace("(hidden)".into()),
            false => Verdict::Allow,
        }
    }
}

#[tokio::test]
async fn a_guard_can_replace_refuse_and_fails_closed() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let tool = DynamicTool::new("t", "", schema, async |args, _| Ok(ToolOutput::Json(args)))
        .with_policy(ToolPolicy::default().guard(Careful));
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    let mut said = BTreeMap::new();
    for n in 1..=5 {
        let text = match run(&tools, "t", json!({ "n": n })).await {
            Ok(output) => output.to_text(),
            Err(error) => format!("{:?}", error.fault()),
        };
        said.insert(n, text);
    }
    let expected = ["(hidden)", "Refused", "Refused", "BadArguments", "{\"n\":5}"];
    assert!(said.values().eq(expected), "{said:?}");
}
