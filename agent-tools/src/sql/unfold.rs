//! Estimates how large an SQL query becomes when its common tables are unfolded.
//!
//! SQLite copies a table of a `WITH` at each place that names it, and cannot be interrupted in the meantime. A chain of tables
//! that name each other twice therefore doubles with each link: forty of them fit into a short query and would take
//! centuries. Pure; counts words, so the estimate is high where a column has the name of a table.

use std::collections::HashMap;

enum Token {
    Word(String),
    Open,
    Close,
    Other,
}

/// A table of a `WITH`: the tokens of its query.
struct Common {
    name: String,
    body: std::ops::Range<usize>,
}

/// The number of copies of common tables that the query unfolds into, about.
pub(crate) fn unfolded(sql: &str) -> u64 {
    let tokens = tokens(sql);
    let commons: Vec<Common> = (0..tokens.len()).filter_map(|at| common(&tokens, at)).collect();
    let mut known = HashMap::new();
    for common in &commons {
        // Later ones name earlier ones, which are known by then.
        cost(&common.name, &tokens, &commons, &mut known, 0);
    }
    copies(0..tokens.len(), &tokens, &commons, &mut known, 0)
}

/// Number of copies that the words in a range cause.
fn copies(
    range: std::ops::Range<usize>,
    tokens: &[Token],
    commons: &[Common],
    known: &mut HashMap<String, u64>,
    depth: usize,
) -> u64 {
    tokens[range].iter().fold(0, |sum: u64, token| match token {
        Token::Word(word) => sum.saturating_add(cost(word, tokens, commons, known, depth)),
        _ => sum,
    })
}

/// Number of copies that one use of a name causes. 0: it names no common table.
fn cost(
    name: &str,
    tokens: &[Token],
    commons: &[Common],
    known: &mut HashMap<String, u64>,
    depth: usize,
) -> u64 {
    if let Some(cost) = known.get(name) {
        return *cost;
    }
    let mut bodies = commons.iter().filter(|common| common.name == name).peekable();
    if bodies.peek().is_none() {
        return 0;
    }
    // A name inside its own query is a recursion, which is not unfolded. Nor is there a stack for long chains.
    known.insert(name.to_owned(), 1);
    if depth > 200 {
        return u64::MAX;
    }
    let inside = bodies.fold(0, |sum: u64, common| {
        sum.saturating_add(copies(common.body.clone(), tokens, commons, known, depth + 1))
    });
    let cost = inside.saturating_add(1);
    known.insert(name.to_owned(), cost);
    cost
}

/// The common table that is defined at a token: `name [(columns)] AS [NOT] [MATERIALIZED] (SELECT …)`.
fn common(tokens: &[Token], at: usize) -> Option<Common> {
    let Token::Word(name) = tokens.get(at)? else { return None };
    let is = |at: usize, word: &str| matches!(tokens.get(at), Some(Token::Word(found)) if found == word);
    let mut next = at + 1;
    if matches!(tokens.get(next)?, Token::Open) {
        next = close(tokens, next)? + 1;
    }
    if !is(next, "as") {
        return None;
    }
    next += 1;
    next += usize::from(is(next, "not"));
    next += usize::from(is(next, "materialized"));
    let opens = matches!(tokens.get(next)?, Token::Open);
    let queries = ["select", "values", "with"].iter().any(|word| is(next + 1, word));
    (opens && queries).then(|| Common {
        name: name.clone(),
        // Without its end, SQLite refuses the query.
        body: next + 1..close(tokens, next).unwrap_or(tokens.len()),
    })
}

/// The end of the parenthesis that opens at a token.
fn close(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    (open..tokens.len()).find(|at| {
        match tokens[*at] {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            Token::Word(_) | Token::Other => {}
        }
        depth == 0
    })
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' | '`' | '[' => {
                let end = if first == '[' { ']' } else { first };
                let inside = &rest[1..];
                let length = inside.find(end).unwrap_or(inside.len());
                // A quoted name is a name.
                tokens.push(Token::Word(inside[..length].to_lowercase()));
                (length + 2).min(rest.len())
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            first if first.is_alphanumeric() || first == '_' || first == '$' => {
                let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                let length = length.unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_lowercase()));
                length
            }
            first => {
                tokens.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    first if first.is_whitespace() => {
                        rest = &rest[first.len_utf8()..];
                        continue;
                    }
                    _ => Token::Other,
                });
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::unfolded;

    fn chain(links: usize, define: impl Fn(usize) -> String) -> String {
        let commons: Vec<String> = (1..links).map(define).collect();
        format!("WITH c0 AS (SELECT 1 x), {} SELECT * FROM c{}", commons.join(", "), links - 1)
    }

    #[test]
    fn a_chain_of_doubling_tables_is_seen_however_it_is_written() {
        for define in [
            |at: usize| format!("c{at} AS (SELECT a.x FROM c{0} a, c{0} b)", at - 1),
            |at: usize| {
                format!(
                    "C{at}(x) AS NOT MATERIALIZED (SELECT 1 FROM \"c{0}\" UNION ALL SELECT 2 FROM [C{0}])",
                    at - 1
                )
            },
            |at: usize| {
                format!("c{at} as/* ( */(values ((select x from c{0})), ((select x from `c{0}`)))", at - 1)
            },
        ] {
            assert!(unfolded(&chain(40, define)) > 1 << 39, "{}", define(1));
        }
        assert_eq!(
            unfolded(&chain(400, |at| format!("c{at} AS (SELECT x FROM c{0}, c{0})", at - 1))),
            u64::MAX
        );
    }

    #[test]
    fn usual_queries_unfold_into_little() {
        for query in [
            "SELECT brand AS b, count(*) AS n FROM reviews GROUP BY b",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n",
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a), c AS (SELECT * FROM a JOIN b) SELECT * FROM a, b, c",
            "SELECT 'it''s (', \"open",
            "SELECT (((",
            "",
        ] {
            assert!(unfolded(query) < 50, "{query}: {}", unfolded(query));
        }
    }
}
