//! Tools of a request and of an agent, as the model gets them: schemas and images.

use agent_core::{
    Agent, Runtime,
    tool::{DynamicTool, ToolOutput, ToolRegistry},
};
use agent_server::Assistant;
use serde_json::json;

use crate::{
    openai::{PATH, all, ask, with},
    support::{
        Here,
        upstream::{Fake, calls, says},
    },
};

#[tokio::test]
async fn the_schema_of_a_callers_tool_reaches_the_model_as_the_caller_wrote_it() {
    let parameters = json!({
        "type": "object",
        "properties": {
            "where": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/place"}], "default": "Seoul"},
            "days": {"type": "integer", "minimum": 1},
        },
        "required": ["where"],
        "$defs": {"place": {"type": "object", "properties": {"lat": {"type": "number"}}}},
    });
    let tool = |name: &str, strict: Option<bool>| {
        let mut function = json!({"name": name, "description": "d", "parameters": parameters});
        if let Some(strict) = strict {
            function["strict"] = json!(strict);
        }
        json!({"type": "function", "function": function})
    };
    let tools = json!([tool("loose", None), tool("open", Some(false)), tool("closed", Some(true))]);
    for model in ["chat", "assistant"] {
        let (here, fake) = all([says("네")]).await;
        let reply = here.post(PATH, with(ask(model, "날씨?"), "tools", tools.clone())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let seen = fake.seen.lock();
        let sent = |name: &str| {
            let mut all = seen[0]["tools"].as_array().unwrap().iter();
            all.find(|tool| tool["function"]["name"] == name).unwrap().to_string()
        };
        // Without `strict`, it is not strict.
        assert_eq!(sent("loose"), tool("loose", None).to_string(), "{model}");
        assert_eq!(sent("open"), tool("open", None).to_string(), "{model}");
        assert_eq!(sent("closed"), tool("closed", Some(true)).to_string(), "{model}");
    }
}

#[tokio::test]
async fn images_of_a_tool_are_shown_to_the_model_of_the_agent() {
    let drawn = || {
        let image = json!({"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="});
        let blob = json!({"uri": "file:///b", "mimeType": "image/webp", "blob": "UklGRg=="});
        let sound = json!({"type": "audio", "mimeType": "audio/wav", "data": "UklGRg=="});
        let blocks = vec![image, json!({"type": "resource", "resource": blob}), sound];
        ToolOutput::Blocks { text: "a dot".to_owned(), blocks }
    };
    let draw = DynamicTool::new("draw", "Draws.", json!({"type": "object"}), move |_, _| {
        std::future::ready(Ok(drawn()))
    });
    let tools = ToolRegistry::builder().tool(draw).build().unwrap();
    let fake = Fake::start([calls("draw", "{}"), says("점입니다")]).await;
    let model = fake.model();
    let assistant =
        Assistant::new(move || Agent::builder("assistant").model(model.clone()).tools(tools.clone()))
            .unwrap();
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant)).await;
    let reply = here.post("/api/v1/chat", json!({"content": "그려줘"})).await;
    assert_eq!(reply.body["content"], "점입니다", "{reply:?}");
    let seen = fake.seen.lock();
    let messages = seen[1]["messages"].as_array().unwrap();
    let shown = json!({"role": "user", "content": [
        {"type": "text", "text": "Images in the result of draw (call_1):"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,UklGRg=="}},
    ]});
    assert_eq!(messages.last().unwrap(), &shown);
    assert_eq!(messages[messages.len() - 2]["content"], "a dot");
}
