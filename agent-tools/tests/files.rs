//! The file tools: no access outside of the root, bounded sizes.
#![cfg(feature = "files")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{fs, os::unix::fs::symlink};

use agent_core::{
    model::ToolCall,
    tool::{StandingApprovals, Tool, ToolContext, ToolError, ToolRegistry},
};
use agent_tools::files::Files;
use serde_json::{Value, json};
use tempfile::TempDir;

struct World {
    outer: TempDir,
    tools: ToolRegistry,
}

impl World {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("src/deep")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::write(outer.path().join("secret"), "s3cret").unwrap();
        fs::write(root.join("읽기.md"), "# 제목\n첫째 줄\n둘째 줄\n").unwrap();
        fs::write(root.join("src/main.rs"), "fn main() {}\n// TODO: 한국어\n").unwrap();
        fs::write(root.join("src/deep/lib.rs"), "pub fn todo() {}\n").unwrap();
        fs::write(root.join("binary"), [0xff, 0xfe, 0]).unwrap();
        fs::write(root.join(".git/config"), "TODO").unwrap();
        symlink(outer.path().join("secret"), root.join("link")).unwrap();
        symlink("../secret", root.join("relative-link")).unwrap();
        symlink(outer.path(), root.join("dir-link")).unwrap();
        symlink("읽기.md", root.join("inner-link")).unwrap();
        let files = Files::open(&root).unwrap();
        let tools = ToolRegistry::builder()
            .tool(files.list())
            .tool(files.read())
            .tool(files.search())
            .tool(files.write());
        Self { outer, tools: tools.build().unwrap() }
    }

    async fn run(&self, tool: &str, args: Value) -> Result<String, ToolError> {
        let prepared = self.tools.prepare(ToolCall::new(tool, &args))?;
        Ok(prepared.run(&ToolContext::detached()).await?.to_text())
    }
}

#[tokio::test]
async fn no_path_leads_out_of_the_root() {
    let world = World::new();
    let absolute = world.outer.path().join("secret").display().to_string();
    for path in [
        "../secret",
        "src/../../secret",
        "link",
        "relative-link",
        "dir-link/secret",
        "/etc/passwd",
        &absolute,
        "./../root/../secret",
    ] {
        for (tool, args) in [
            ("read_file", json!({ "path": path })),
            ("write_file", json!({ "path": path, "content": "overwritten" })),
            ("list_files", json!({ "path": path })),
            ("search_files", json!({ "path": path, "pattern": "s3cret" })),
        ] {
            // Writing replaces a link in the root by a file in the root, and leaves what it led to.
            if tool == "write_file" && path.ends_with("link") {
                continue;
            }
            let said = world.run(tool, args).await;
            assert!(said.is_err(), "{tool} {path}: {said:?}");
            assert!(!said.unwrap_err().for_model().contains("s3cret"));
        }
    }
    world.run("write_file", json!({ "path": "link", "content": "x" })).await.unwrap();
    assert_eq!(fs::read_to_string(world.outer.path().join("secret")).unwrap(), "s3cret");
    assert_eq!(world.run("search_files", json!({ "pattern": "s3cret" })).await.unwrap(), "nothing found");
}

#[tokio::test]
async fn a_file_is_read_whole_or_in_part() {
    let world = World::new();
    let read = |args| world.run("read_file", args);
    assert_eq!(read(json!({ "path": "읽기.md" })).await.unwrap(), "# 제목\n첫째 줄\n둘째 줄\n");
    assert_eq!(read(json!({ "path": "inner-link", "from_line": 2, "lines": 1 })).await.unwrap(), "첫째 줄\n");
    assert_eq!(read(json!({ "path": "읽기.md", "from_line": 9 })).await.unwrap(), "[the file has 3 lines]");
    assert_eq!(read(json!({ "path": "nope" })).await.unwrap_err().for_model(), "there is no `nope`");
    assert_eq!(read(json!({ "path": "src" })).await.unwrap_err().for_model(), "this is not a regular file");
    assert_eq!(
        read(json!({ "path": "binary" })).await.unwrap_err().for_model(),
        "the file is not UTF-8 text"
    );
}

#[tokio::test]
async fn a_long_file_is_cut_between_characters_and_says_where_to_read_on() {
    let world = World::new();
    fs::write(world.outer.path().join("root/long"), "한글 한 줄\n".repeat(30_000)).unwrap();
    let files = Files::open(world.outer.path().join("root")).unwrap();
    let args = serde_json::from_value(json!({ "path": "long" })).unwrap();
    let text = Tool::call(&files.read(), args, &ToolContext::detached()).await.unwrap();
    assert!(
        text.len() < 257 * 1024 && text.ends_with("of 30000; continue with `from_line`: 17477]"),
        "{}",
        &text[text.len() - 90..]
    );
}

#[tokio::test]
async fn files_are_listed_by_name_and_links_and_histories_left_out() {
    let world = World::new();
    assert_eq!(
        world.run("list_files", json!({})).await.unwrap(),
        "binary (3)\n읽기.md (31)\nsrc/main.rs (32)\nsrc/deep/lib.rs (17)"
    );
    assert_eq!(
        world.run("list_files", json!({ "files": "*.rs" })).await.unwrap(),
        "src/main.rs (32)\nsrc/deep/lib.rs (17)"
    );
    assert_eq!(
        world.run("list_files", json!({ "path": "src/deep/" })).await.unwrap(),
        "src/deep/lib.rs (17)"
    );
    assert_eq!(world.run("list_files", json!({ "files": "*.py" })).await.unwrap(), "no files");
    assert!(world.run("list_files", json!({ "files": "[" })).await.is_err());
}

#[tokio::test]
async fn text_is_found_with_file_and_line() {
    let world = World::new();
    let search = |args| world.run("search_files", args);
    assert_eq!(search(json!({ "pattern": "TODO" })).await.unwrap(), "src/main.rs:2: // TODO: 한국어");
    assert_eq!(
        search(json!({ "pattern": "todo", "ignore_case": true, "files": "src/**/*.rs" })).await.unwrap(),
        "src/main.rs:2: // TODO: 한국어\nsrc/deep/lib.rs:1: pub fn todo() {}"
    );
    assert_eq!(search(json!({ "pattern": "둘째" })).await.unwrap(), "읽기.md:3: 둘째 줄");
    assert!(
        search(json!({ "pattern": "(" })).await.unwrap_err().for_model().contains("the pattern is not valid")
    );
    assert!(search(json!({ "pattern": "(a{1000}){1000}" })).await.is_err());
}

#[tokio::test]
async fn writing_is_whole_and_asks_first() {
    let world = World::new();
    let args = json!({ "path": "새 폴더/글.txt", "content": "안녕" });
    let prepared = world.tools.prepare(ToolCall::new("write_file", &args)).unwrap();
    assert!(prepared.approval_for(&StandingApprovals::default()).is_some());
    prepared.run(&ToolContext::detached()).await.unwrap();
    let dir = world.outer.path().join("root/새 폴더");
    assert_eq!(fs::read_to_string(dir.join("글.txt")).unwrap(), "안녕");
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
    assert!(world.run("write_file", json!({ "path": "src", "content": "x" })).await.is_err());
    let left: Vec<_> = fs::read_dir(world.outer.path().join("root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".tmp")), "{left:?}");
}
