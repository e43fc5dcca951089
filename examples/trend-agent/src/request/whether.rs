//! Questions that are answered by yes or no.

use crate::message::Message;
use crate::text::mentions;

/// Reads whether a message asks if something holds.
pub(super) fn asks_whether(message: &Message) -> bool {
    let lower = message.lower().trim().to_owned();
    let auxiliary = [
        "any", "anything", "anyone", "is", "are", "does", "do", "did", "was", "were", "has", "have", "can",
        "will", "would", "isn't", "aren't", "doesn't",
    ];
    let first = |part: &str| {
        let part = part.trim_start();
        let end = part.find(|c: char| !c.is_alphanumeric() && c != '\'').unwrap_or(part.len());
        auxiliary.contains(&&part[..end])
    };
    // Without a question mark only words that begin no other request ("can you", "do a report").
    let begins = ["is ", "are ", "does ", "did ", "was ", "were "].iter().any(|word| lower.starts_with(word));
    let english = begins || (lower.contains('?') && lower.split([':', ',', ';', '.']).any(first));
    // "Birch sunscreen eye sting?"
    let open = ["what", "what's", "whats", "how", "how's", "hows", "why", "who", "which", "where", "when"];
    let asks = lower.ends_with('?') || lower.ends_with("any good");
    let short = asks && lower.is_ascii() && !mentions(&lower, &open);
    // "별로라는 사람 없어? 라네즈": the question may come first.
    let asked = lower.rsplit_once('?').map_or(lower.as_str(), |(asked, _)| asked);
    let text = asked.trim_end_matches(['?', '!', '.', ' ']);
    let korean = [
        "나요",
        "나여",
        "나용",
        "가여",
        "까여",
        "가요",
        "까요",
        "까",
        "니",
        "냐",
        "나",
        "한가",
        "인가",
        "해",
        "해요",
        "어때",
        "어때요",
        "어떤가요",
        "어떤지",
        "있어",
        "있어요",
        "계세요",
        "계신가",
        "계시나",
        "있으세요",
        "없어",
        "없어요",
        "되나",
        "돼",
        "순해",
        "좋아",
        "괜찮아",
        "괜찮아요",
        "심해",
        "심해요",
        "편이야",
        "편인가",
        "음",
        "임",
        "함",
        "됨",
        "짐",
        "대",
        "대요",
        "잡아",
        "남아",
        "맞아",
        "많아",
        "없나",
    ];
    let ends = korean.iter().any(|end| text.ends_with(end));
    english
        || short
        || (ends
            && (lower.contains('?')
                || ["나요", "가요", "어때", "어때요", "되냐", "하냐", "있냐", "없냐", "나냐", "은지"]
                    .iter()
                    .any(|end| text.ends_with(end))))
}
