//! The calculator tool: exact results, bounded work, no side effects.
#![cfg(feature = "calculator")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use agent_core::{
    model::ToolCall,
    tool::{ToolContext, ToolError, ToolRegistry},
};
use agent_tools::Calculator;
use serde_json::json;

async fn calculate(expression: &str) -> Result<String, ToolError> {
    let tools = ToolRegistry::builder().tool(Calculator::default()).build().unwrap();
    let call = ToolCall::new("calculator", &json!({ "expression": expression }));
    Ok(tools.prepare(call)?.run(&ToolContext::detached()).await?.to_text())
}

#[tokio::test]
async fn results_are_exact() {
    for (expression, result) in [
        ("0.1 + 0.2", "0.3"),
        ("(1 + 2) * 3 - 4 / 8", "8.5"),
        ("2^100", "1267650600228229401496703205376"),
        ("20% of 1,250,000", "250000"),
        ("1 km to m", "1000 m"),
    ] {
        assert_eq!(calculate(expression).await.unwrap(), result, "{expression}");
    }
}

#[tokio::test]
async fn nonsense_is_told_in_words() {
    for expression in ["1 / 0", "2 +", "한국어", "foo(3)", ""] {
        let said = calculate(expression).await;
        assert!(said.as_ref().is_ok_and(String::is_empty) || said.is_err(), "{expression}: {said:?}");
    }
    assert!(calculate("1 / 0").await.unwrap_err().for_model().contains("division by zero"));
}

#[tokio::test]
async fn hostile_expressions_end_in_time() {
    let deep = "(".repeat(400) + "1" + &")".repeat(400);
    let long = "1+".repeat(249) + "1";
    let powers = "-".repeat(499) + "1";
    let functions = "ln ".repeat(160) + "1";
    let factorials = "1".to_owned() + &"!".repeat(499);
    let towers = "2^".repeat(240) + "2";
    for expression in [
        "10^10^10",
        "9999999!",
        "99999^99999^99999",
        &deep,
        &long,
        &powers,
        &functions,
        &factorials,
        &towers,
        "2^(2^(2^(2^(2^2))))",
    ] {
        let began = Instant::now();
        drop(calculate(expression).await);
        let took = began.elapsed();
        let shown: String = expression.chars().take(30).collect();
        assert!(took < Duration::from_secs(4), "{shown}: {took:?}");
    }
    assert!(calculate("9999999!").await.is_err());
}
