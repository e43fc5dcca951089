//! `run` on a terminal, made by `script` of util-linux: progress bars, a question in Korean, Ctrl-C as a key.

use std::process::Stdio;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::support::{ASK, Home, LONG};

/// A process on a separate terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    bytes: Vec<u8>,
    seen: String,
}

impl Terminal {
    fn start(home: &Home, variables: &[(&str, &str)], args: &str) -> Self {
        let line = format!("exec {} {args}", env!("CARGO_BIN_EXE_agent-server"));
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(home.path())
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env_remove("NO_COLOR")
            .env_remove("OPENAI_API_KEY")
            .env_remove("OPENAI_BASE_URL")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`script` (Debian: bsdutils) is there");
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, bytes: Vec::new(), seen: String::new() }
    }

    async fn until(&mut self, wanted: &str) {
        timeout(LONG, async {
            while !self.seen.contains(wanted) {
                let mut some = [0; 4096];
                let count = self.screen.read(&mut some).await.unwrap();
                assert!(count > 0, "it ended without {wanted}: {}", self.seen);
                self.bytes.extend_from_slice(&some[..count]);
                // A key that interrupts makes the terminal forget what it had not shown, be it half a character.
                self.seen = String::from_utf8_lossy(&self.bytes).into_owned();
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {wanted} in {}", self.seen));
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    async fn code(mut self) -> i32 {
        let mut rest = Vec::new();
        timeout(LONG, self.screen.read_to_end(&mut rest)).await.unwrap().unwrap();
        timeout(LONG, self.child.wait()).await.unwrap().unwrap().code().unwrap()
    }
}

#[tokio::test]
async fn bars_move_a_question_is_answered_in_korean_and_the_report_is_shown() {
    let home = Home::new();
    let mut terminal = Terminal::start(&home, &[], &format!("run '{ASK}' --session s"));
    terminal.until("> ").await;
    assert!(terminal.seen.contains('█') || terminal.seen.contains('░'), "{}", terminal.seen);
    terminal.press("그 밖\n").await;
    terminal.until("choose one of").await;
    terminal.press("소비자\n").await;
    terminal.until("# 라네즈").await;
    assert_eq!(terminal.code().await, 0);
}

#[tokio::test]
async fn the_key_ctrl_c_stops_the_run_and_it_can_be_gone_on_with() {
    let home = Home::new();
    let mut terminal =
        Terminal::start(&home, &[("TREND_PACE_MS", "300")], &format!("run '{ASK}' --session s"));
    terminal.until("라네즈 리뷰 수집").await;
    terminal.press("\u{3}").await;
    terminal.until("run --session s`").await;
    assert_eq!(terminal.code().await, 1);
    let said = home.say(&["run", "--session", "s"], "1\n").await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test]
async fn no_color_means_neither_colours_nor_bars() {
    let home = Home::new();
    let mut terminal =
        Terminal::start(&home, &[("NO_COLOR", "1")], &format!("run '{ASK} 구매자용' --session s"));
    terminal.until("session s completed").await;
    assert!(!terminal.seen.contains('\u{1b}'), "{}", terminal.seen);
}
