//! An answer as a Rust type: requested with its schema, validated, and requested again if it is invalid.
//!
//! Run: `cargo run -p examples --example structured`. With `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint, a model
//! answers; without one, a script.
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{
    Agent, Runtime,
    model::{
        Model,
        testing::{Scripted, Turn},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Result for a review.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Finding {
    /// Name of the product.
    product: String,
    /// -1 to 1.
    #[schemars(range(min = -1, max = 1))]
    sentiment: f32,
    topics: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let agent = Agent::builder("reader").system("Read the review.").output::<Finding>().build()?;
    let model = Scripted::new([
        Turn::text(r#"{"product": "수분 크림", "sentiment": 5, "topics": []}"#),
        Turn::text(r#"{"product": "수분 크림", "sentiment": 0.9, "topics": ["보습", "향"]}"#),
    ]);
    let session = Runtime::builder().model(Model::from_env_or(model)?).build().session("s1")?;
    let outcome = session.run(&agent, "수분 크림: 촉촉하고 향도 좋아요").await?;
    let finding: Finding = outcome.state().ok_or("the run paused")?.output()?;
    println!("{finding:?} after {} answers", session.status().await?.used.model_calls);
    Ok(())
}
