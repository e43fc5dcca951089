//! Token counts: the estimate against the exact vocabulary.

use agent_core::model::tokens::{CountTokens, Estimate, Tiktoken};

#[test]
fn exact_counts_bear_the_estimate_out() {
    let exact = Tiktoken::for_model("gpt-4o-mini");
    for text in [
        "The quick brown fox jumps over the lazy dog.",
        "안녕하세요. 오늘 기분이 어떠세요? 요즘 잠을 잘 못 주무신다고 하셨는데요.",
    ] {
        let (exact, estimate) = (exact.text(text), Estimate.text(text));
        assert!(exact.abs_diff(estimate) * 5 <= exact, "{text}: {exact}, estimated {estimate}");
    }
}
