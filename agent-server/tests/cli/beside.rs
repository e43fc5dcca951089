//! Command-line tools next to a server with the same file: reading always works; writing is refused if the server runs. And which
//! of its parts call a model.

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr},
    time::timeout,
};

use crate::support::{ASK, Home, LONG};

/// As much HTTP as this needs.
async fn post(address: &str, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// The address of a server, once it listens, and the rest of its log.
async fn address(server: &mut Child) -> (String, Lines<BufReader<ChildStderr>>) {
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = timeout(LONG, async {
        loop {
            let line = log.next_line().await.unwrap().expect("it listens");
            if let Some((_, rest)) = line.split_once("listening on http://") {
                return rest.split(',').next().unwrap().to_owned();
            }
        }
    });
    let address = address.await.unwrap();
    (address, log)
}

#[tokio::test]
async fn mock_data_replaces_the_model_of_the_sample_agent_and_not_that_of_the_chat() {
    // Connections wait in the queue of the listener and get no answer.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    let home = Home::new();
    let mut server = home.command(&["--api-host", "127.0.0.1", "--api-port", "0"]);
    server.env("USE_MOCK_DATA", "true").env("OPENAI_BASE_URL", &url).env("FIRST_TOKEN_SECONDS", "0.1");
    let mut server = server.spawn().unwrap();
    let (address, _log) = address(&mut server).await;
    let request = json!({"message": ASK, "context": {"audience": "buyers"}});
    let reply = post(&address, "/api/agent/run", &request).await;
    assert!(reply.contains("\"completed\""), "{reply}");
    assert!(silent.accept().now_or_never().is_none(), "the run called the model");
    let reply = post(&address, "/api/chat/stream", &json!({"message": "hi"})).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    timeout(LONG, silent.accept()).await.expect("the chat calls the model").unwrap();
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_servers_journals_are_read_beside_it_and_its_runs_are_left_alone() {
    let home = Home::new();
    let mut server = home.command(&["--api-host", "127.0.0.1", "--api-port", "0"]).spawn().unwrap();
    let (address, _log) = address(&mut server).await;
    // The run continues up to its question.
    let reply = post(&address, "/run", &json!({"message": ASK, "session_id": "s"})).await;
    assert!(reply.contains("\"paused\""), "{reply}");

    let list = home.do_(&["sessions", "--json"]).await.json();
    assert_eq!(list[0]["status"], "paused", "{list}");
    for args in [&["history", "s"][..], &["replay", "s"], &["why", "s", "request"]] {
        let said = home.do_(args).await;
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}: {said:?}");
    }
    // A fork is a separate session.
    assert_eq!(home.do_(&["fork", "s", "1", "t"]).await.code, 0);
    let said = home.say(&["run", "--session", "s"], "1\n").await;
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("another process") && said.err.contains("use the server's API"),
        "{}",
        said.err
    );
    // The server was not affected.
    let reply = post(&address, "/resume/s", &json!({"value": "소비자"})).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    server.kill().await.unwrap();
}
