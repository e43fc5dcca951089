//! The K-beauty agent as a graph: understand and plan, study each brand in parallel, ask for the reader, write the report.

use std::time::Duration;

use agent_core::{
    Context, END, Graph, NodeError, Question, Result, START, State,
    graph::{BuildError, Dispatch, Route},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    analyse_sentiment, analyse_topics,
    audience::Audience,
    catalogue::Brand,
    collect::{Collected, collect},
    findings::{BrandFinding, Findings},
    layout::lay_out,
    plan::{PlannedTodo, offline_plan},
    report::write_report,
    request::Request,
    review::Language,
    understand::understand,
    writer::models_report,
};

/// The state of one request, from message to report.
#[derive(State, Debug, Default, Serialize, Deserialize)]
pub struct Trend {
    /// What the user wrote.
    pub message: String,
    /// What the caller sent along; `audience` in it answers the question beforehand.
    pub context: Map<String, Value>,
    /// The message, understood. Until then, the request of the session's earlier run.
    pub request: Option<Request>,
    /// What was found, brand by brand.
    #[state(append)]
    pub findings: Vec<BrandFinding>,
    /// Who the report is for.
    pub audience: Option<Audience>,
    /// The report.
    pub response: Option<String>,
}

/// The state of the study of one brand.
#[derive(State, Default, Serialize, Deserialize)]
struct Study {
    request: Option<Request>,
    brand: Option<Brand>,
    collected: Option<Collected>,
    finding: Option<BrandFinding>,
}

/// How the agent works; given to the runtime with `provide`.
#[derive(Debug, Clone, Copy)]
pub struct Desk {
    /// Whether planning and writing are the model's. Default: the built-in analyst's.
    pub model: bool,
    /// A wait between pieces of work, so that people (and tests that kill the process) can watch. Default: none.
    pub pace: Duration,
    /// Timeout for one whole answer of the model, after which the built-in analyst does the work. Default: 300 seconds.
    pub answer_timeout: Duration,
}

impl Default for Desk {
    fn default() -> Self {
        Self { model: false, pace: Duration::ZERO, answer_timeout: Duration::from_secs(300) }
    }
}

impl Desk {
    /// Lets others work between two pieces.
    async fn pace(&self) {
        if self.pace.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(self.pace).await;
        }
    }
}

/// The graph. The runtime that runs it must provide a [`Desk`], and a model if [`Desk::model`] is set.
///
/// # Errors
///
/// None that a caller can cause: the graph is fixed.
pub fn trend_graph() -> std::result::Result<Graph<Trend>, BuildError> {
    let study = Graph::<Study>::builder("study")
        .node("collect", collect_reviews)
        .node("analyse", analyse)
        .edge(START, "collect")
        .edge("collect", "analyse")
        .edge("analyse", END)
        .build()?;
    Graph::<Trend>::builder("trend")
        .node("plan", plan)
        .node(
            "study",
            study.as_node_with_input(
                |trend: &Trend, brand: Brand| Study {
                    request: trend.request.clone(),
                    brand: Some(brand),
                    ..Study::default()
                },
                |study: Study| Trend::update().findings(study.finding),
            ),
        )
        .node("audience", audience)
        .node("write", write)
        .edge(START, "plan")
        .branch("plan", each_brand, ["study", "write"])
        .edge("study", "audience")
        .edge("audience", "write")
        .edge("write", END)
        .build()
}

impl Trend {
    /// Returns the update that starts a run. Only the request of an earlier run on the session is kept, because the message may
    /// change it.
    pub fn begin(message: String, context: Map<String, Value>) -> TrendUpdate {
        Self::update()
            .message(message)
            .context(context)
            .overwrite_findings(Vec::new())
            .audience(None)
            .response(None)
    }

    fn request(&self) -> Result<&Request> {
        self.request.as_ref().ok_or_else(|| NodeError::permanent("the request was not planned"))
    }
}

impl Study {
    fn subject(&self) -> Result<(&Request, Brand)> {
        self.request.as_ref().zip(self.brand).ok_or_else(|| NodeError::permanent("the study has no subject"))
    }
}

fn each_brand(trend: &Trend) -> Route {
    match &trend.request {
        Some(request) if !request.brands.is_empty() => {
            Route::sends(request.brands.iter().map(|brand| Dispatch::new("study", brand)))
        }
        _ => Route::to("write"),
    }
}

async fn plan(trend: &Trend, cx: &Context) -> Result<TrendUpdate> {
    let desk = cx.get::<Desk>()?;
    let say = Request::parse_after(&trend.message, trend.request.as_ref()).language;
    let todo = cx.todos().start("plan", pick(say, "요청 이해와 계획", "Understand the request and plan"))?;
    desk.pace().await;
    let (mut request, planned) = understand(trend, desk.model, cx).await?;
    let given = trend.context.get("audience").and_then(Value::as_str).and_then(Audience::parse);
    // The message itself comes first, then the caller's context, then the request that the message changes.
    let own = Request::parse(&trend.message).audience;
    request.audience = own.or(given).or(request.audience);
    let mut work = offline_plan(&request);
    if asks_for_the_reader(&request) {
        let title = pick(say, "보고서의 독자 확인", "Ask who the report is for").to_owned();
        work.insert(work.len() - 1, PlannedTodo { id: "audience".into(), title });
    }
    lay_out(&cx.todos(), &planned, &work)?;
    todo.done_with(request.summary());
    let audience = request.audience;
    Ok(Trend::update().request(request).audience(audience))
}

fn asks_for_the_reader(request: &Request) -> bool {
    request.audience.is_none() && request.has_subject() && !request.is_same_for_every_reader()
}

async fn collect_reviews(study: &Study, cx: &Context) -> Result<StudyUpdate> {
    let desk = cx.get::<Desk>()?;
    let (request, brand) = study.subject()?;
    let say = request.language;
    let todo = cx.todos().get(&format!("collect:{}", brand.slug()))?;
    todo.progress(20, pick(say, "리뷰를 읽는 중", "reading reviews"));
    desk.pace().await;
    let collected = cx.step("collect", async { Ok::<_, NodeError>(collect(request, brand)) }).await?;
    todo.progress(80, pick(say, "표본을 고르는 중", "choosing the sample"));
    desk.pace().await;
    todo.done_with(match say {
        Language::Korean => format!("리뷰 {}건 중 {}건", collected.considered, collected.reviews.len()),
        Language::English => format!("{} of {} reviews", collected.reviews.len(), collected.considered),
    });
    Ok(Study::update().collected(collected))
}

async fn analyse(study: &Study, cx: &Context) -> Result<StudyUpdate> {
    let desk = cx.get::<Desk>()?;
    let (request, brand) = study.subject()?;
    let collected = study.collected.as_ref().ok_or_else(|| NodeError::permanent("nothing was collected"))?;
    let say = request.language;
    let todo = cx.todos().get(&format!("analyse:{}", brand.slug()))?;
    todo.progress(10, pick(say, "주제를 찾는 중", "finding topics"));
    desk.pace().await;
    let topics = cx.step("topics", async { Ok::<_, NodeError>(analyse_topics(&collected.reviews)) }).await?;
    todo.progress(50, pick(say, "감성을 재는 중", "measuring sentiment"));
    desk.pace().await;
    let sentiment =
        cx.step("sentiment", async { Ok::<_, NodeError>(analyse_sentiment(&collected.reviews)) }).await?;
    todo.progress(80, pick(say, "변화를 비교하는 중", "comparing over time"));
    desk.pace().await;
    let finding = cx
        .step("finding", async { Ok::<_, NodeError>(BrandFinding::new(collected, topics, sentiment)) })
        .await?;
    todo.done_with(match say {
        Language::Korean => format!("주제 {}개", finding.topics.len()),
        Language::English => format!("{} topics", finding.topics.len()),
    });
    Ok(Study::update().finding(finding))
}

async fn audience(trend: &Trend, cx: &Context) -> Result<TrendUpdate> {
    let request = trend.request()?;
    if !asks_for_the_reader(request) {
        return Ok(Trend::update());
    }
    let say = request.language;
    let todo = cx.todos().get("audience")?;
    todo.progress(0, pick(say, "답변을 기다리는 중", "waiting for an answer"));
    let languages = [Language::Korean, Language::English];
    let labels = Audience::ALL.map(|audience| languages.map(|language| audience.label(language)));
    let question =
        Question::choose(Audience::question(say), Audience::options(say)).labels(labels).key("audience");
    let answer: String = cx.ask(question).await?;
    let audience = Audience::parse(&answer);
    let audience = audience.ok_or_else(|| NodeError::permanent("the answer names no audience"))?;
    todo.done_with(audience.label(say));
    let request = Request { audience: Some(audience), ..request.clone() };
    Ok(Trend::update().audience(audience).request(request))
}

async fn write(trend: &Trend, cx: &Context) -> Result<TrendUpdate> {
    let desk = cx.get::<Desk>()?;
    let request = trend.request()?;
    let say = request.language;
    let audience = trend.audience.unwrap_or(Audience::Buyers);
    let findings = Findings::new(request.clone(), trend.findings.clone());
    let todo = cx.todos().get("write")?;
    todo.progress(10, pick(say, "보고서를 쓰는 중", "writing the report"));
    desk.pace().await;
    let writes = desk.model && findings.reviews() > 0 && !request.is_same_for_every_reader();
    let response = if writes {
        models_report(&trend.message, &findings, audience, cx).await?
    } else {
        cx.step("report", async { Ok::<_, NodeError>(write_report(&findings, audience)) }).await?
    };
    todo.done_with(match say {
        Language::Korean => format!("{}자", response.chars().count()),
        Language::English => format!("{} characters", response.chars().count()),
    });
    Ok(Trend::update().response(response))
}

const fn pick(language: Language, korean: &'static str, english: &'static str) -> &'static str {
    match language {
        Language::Korean => korean,
        Language::English => english,
    }
}
