//! A graph that asks a person. The question survives the process: kill the program, start it again, and answer.
//!
//! Run: `cargo run -p examples --example approval`
#![expect(clippy::print_stdout, reason = "a program that speaks to a person")]

use agent_core::{Answers, Context, END, Graph, Question, Result, Runtime, START, State, sqlite::Sqlite};

#[derive(State, Default, serde::Serialize, serde::Deserialize)]
struct Order {
    won: u64,
    paid: bool,
}

async fn pay(order: &Order, cx: &Context) -> Result<OrderUpdate> {
    let answer: String = cx.ask(Question::choose(format!("Pay {} won?", order.won), ["yes", "no"])).await?;
    Ok(Order::update().paid(answer == "yes"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let graph = Graph::<Order>::builder("order").node("pay", pay).path([START, "pay", END]).build()?;
    let runtime = Runtime::builder().journal(Sqlite::open("approval.db")?).build();
    let session = runtime.session("order-7")?;
    let mut outcome = session.run(&graph, Order::update().won(50_000_u64)).or_resume().await?;
    while let Some(open) = outcome.questions().first() {
        println!("{}", open.question.prompt);
        let answer = std::io::stdin().lines().next().ok_or("there is no answer")??;
        outcome = session.answer(Answers::only(answer)).await?.outcome().await?;
    }
    println!("paid: {}", outcome.state().ok_or("the run waits")?.paid);
    Ok(())
}
