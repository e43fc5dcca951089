//! What a reader can do with the figures. Every sentence rests on a count that the report shows.

use super::{Say, korean, product_name};
use crate::audience::Audience;
use crate::findings::BrandFinding;
use crate::review::Language;
use crate::sentiment::Polarity;
use crate::topics::{Topic, TopicFinding};

/// How many complaints and how many praises become advice.
const EACH: usize = 2;

/// The most of them when several have the same count.
const MOST: usize = 4;

/// Mean ratings that differ by less are equal.
const CLEAR: f64 = 0.005;

/// A change of the mean rating worth a word.
pub(super) const RATING_MOVE: f64 = 0.15;

/// A few sentences, the most useful first.
pub(super) fn advice(finding: &BrandFinding, audience: Audience, say: Say) -> Vec<String> {
    let mut out = Vec::new();
    products(finding, audience, say, &mut out);
    let blamed = leading(finding, (EACH, MOST), |topic| topic.negative);
    for topic in &blamed {
        let (name, bad, all) = (topic.topic.name(say.0), topic.negative, topic.count);
        let tip = tip(topic.topic, audience, say.0);
        out.push(say.of(
            &format!("{name}: 언급 {all}건 중 불만이 {bad}건입니다. {tip}"),
            &format!("{}: {bad} of {all} mentions complain. {tip}", capital(name)),
        ));
    }
    let praised = leading(finding, (EACH, MOST), |topic| topic.positive);
    for topic in praised.iter().filter(|topic| !blamed.iter().any(|bad| bad.topic == topic.topic)) {
        out.push(praise(topic, audience, say));
    }
    if let Some(change) = &finding.change {
        let (before, after) = (change.earlier.mean_rating, change.later.mean_rating);
        if (after - before).abs() >= RATING_MOVE {
            out.push(direction(before, after, audience, say));
        }
    }
    if finding.reviews < 10 {
        out.push(say.of(
            &format!("리뷰가 {}건뿐이므로 경향으로 보기에는 이릅니다.", finding.reviews),
            &format!("With only {} review(s), treat this as anecdote, not as a trend.", finding.reviews),
        ));
    }
    out
}

/// The topics with the highest counts: `each`, and every further one with the same count as the last, unless that is more
/// than `most`; then only those with a higher count, which may be none. Equals are never ranked.
pub(super) fn leading(
    finding: &BrandFinding,
    (each, most): (usize, usize),
    count: impl Fn(&TopicFinding) -> usize,
) -> Vec<&TopicFinding> {
    let mut topics: Vec<_> = finding.topics.iter().filter(|topic| count(topic) > 0).collect();
    topics.sort_by_key(|topic| (std::cmp::Reverse(count(topic)), topic.topic));
    if let Some(last) = topics.get(each - 1).map(|topic| count(topic)) {
        let through = topics.iter().filter(|topic| count(topic) >= last).count();
        let above = topics.iter().filter(|topic| count(topic) > last).count();
        topics.truncate(if through <= most { through } else { above });
    }
    topics
}

fn products(finding: &BrandFinding, audience: Audience, say: Say, out: &mut Vec<String>) {
    let rated = || finding.products.iter().map(|tally| tally.mean_rating);
    let (Some(high), Some(bottom)) = (rated().reduce(f64::max), rated().reduce(f64::min)) else { return };
    // Products with the same rating are named together.
    if high - bottom < CLEAR {
        return;
    }
    let at = |rating: f64| {
        let level = finding.products.iter().filter(|tally| (tally.mean_rating - rating).abs() < CLEAR);
        level.map(|tally| product_name(&tally.product, say)).collect::<Vec<_>>().join(", ")
    };
    let (top, low) = (at(high), at(bottom));
    out.push(match audience {
        Audience::Buyers => say.of(
            &format!("처음이라면 평점이 가장 높은 {top}({high:.2})부터, {low}({bottom:.2})의 경우 아래 불만을 먼저 확인하세요."),
            &format!("New to the brand? Start with {top} ({high:.2}); read the complaints below before you buy {low} ({bottom:.2})."),
        ),
        Audience::Makers => say.of(
            &format!("개선의 우선순위는 {low}({bottom:.2})입니다. {top}({high:.2})에서 잘된 점을 비교 기준으로 삼으세요."),
            &format!("Improve {low} ({bottom:.2}) first, with {top} ({high:.2}) as the yardstick."),
        ),
        Audience::Marketers => say.of(
            &format!(
                "대표 제품으로는 {} 앞세우고, {} 개선 전까지 크게 노출하지 마세요.",
                korean::with(&format!("{top}({high:.2})"), "을", "를"),
                korean::with(&format!("{low}({bottom:.2})"), "은", "는"),
            ),
            &format!("Lead with {top} ({high:.2}); hold back spending on {low} ({bottom:.2}) until its complaints are answered."),
        ),
    });
}

fn praise(topic: &TopicFinding, audience: Audience, say: Say) -> String {
    let (name, good, all) = (praised_name(topic.topic, say.0), topic.positive, topic.count);
    let quote = topic.quotes.iter().find(|quote| quote.polarity == Polarity::Positive);
    let source = quote.map_or_else(String::new, |quote| {
        say.of(&format!(" (예: {})", quote.review), &format!(" (see {})", quote.review))
    });
    match audience {
        Audience::Buyers => say.of(
            &format!(
                "{} 중요하다면 좋은 선택입니다. 언급 {all}건 중 {good}건이 칭찬합니다{source}.",
                korean::with(name, "이", "가")
            ),
            &format!("A good choice for {name}: {good} of {all} mentions praise it{source}."),
        ),
        Audience::Makers => say.of(
            &format!(
                "{name}: 칭찬 {good}건/언급 {all}건으로 강점입니다. 리뉴얼 때 바뀌지 않게 지키세요{source}."
            ),
            &format!("Protect {name} in any reformulation: {good} of {all} mentions praise it{source}."),
        ),
        Audience::Marketers => say.of(
            &format!(
                "{} 메시지의 중심에 두세요. 언급 {all}건 중 {good}건이 칭찬합니다{source}.",
                korean::with(name, "을", "를")
            ),
            &format!("Build the message on {name}: {good} of {all} mentions praise it{source}."),
        ),
    }
}

fn direction(before: f64, after: f64, audience: Audience, say: Say) -> String {
    let better = after > before;
    let figures = format!("{before:.2} → {after:.2}");
    match (audience, better) {
        (Audience::Buyers, true) => say.of(&format!("최근 평점이 올랐습니다({figures}). 오래된 리뷰보다 최근 리뷰를 보세요."), &format!("Ratings rose lately ({figures}): give the newer reviews more weight.")),
        (Audience::Buyers, false) => say.of(&format!("최근 평점이 내렸습니다({figures}). 리뉴얼 이후의 리뷰를 확인하세요."), &format!("Ratings fell lately ({figures}): check the newest reviews before you buy again.")),
        (Audience::Makers, true) => say.of(&format!("평점이 올랐습니다({figures}). 무엇을 바꿨는지 기록해 두세요."), &format!("Ratings rose ({figures}): write down what was changed, so that it lasts.")),
        (Audience::Makers, false) => say.of(&format!("평점이 내렸습니다({figures}). 이 기간의 처방·용기·물류 변경을 점검하세요."), &format!("Ratings fell ({figures}): review the changes of formula, packaging and logistics in that time.")),
        (Audience::Marketers, true) => say.of(&format!("평점이 오르는 중입니다({figures}). 최근 후기를 활용하기 좋은 때입니다."), &format!("Ratings are rising ({figures}): a good time to show recent voices.")),
        (Audience::Marketers, false) => say.of(&format!("평점이 내리는 중입니다({figures}). 노출을 늘리기 전에 불만에 답하세요."), &format!("Ratings are falling ({figures}): answer the complaints before buying more reach.")),
    }
}

/// The name of a topic that is praised: praise for irritation is praise for gentleness.
pub(super) const fn praised_name(topic: Topic, language: Language) -> &'static str {
    match (topic, language) {
        (Topic::Irritation, Language::Korean) => "순함(저자극)",
        (Topic::Irritation, Language::English) => "gentleness",
        _ => topic.name(language),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// What to do about complaints on a topic.
const fn tip(topic: Topic, audience: Audience, language: Language) -> &'static str {
    use Audience::{Buyers, Makers, Marketers};
    use Language::{English, Korean};
    match (topic, audience, language) {
        (Topic::Hydration, Buyers, Korean) => "건성이라면 크림을 덧바를 생각을 하고 고르세요.",
        (Topic::Hydration, Buyers, English) => "With dry skin, plan for a cream on top.",
        (Topic::Hydration, Makers, Korean) => "겨울·건성용으로 더 진한 보습 제품을 검토하세요.",
        (Topic::Hydration, Makers, English) => "Consider a richer version for winter and dry skin.",
        (Topic::Hydration, Marketers, Korean) => "피부 타입을 밝혀 기대치를 맞추세요.",
        (Topic::Hydration, Marketers, English) => "Name the skin type it is for, so that expectations fit.",
        (Topic::Texture, Buyers, Korean) => "가능하면 샘플로 사용감을 먼저 확인하세요.",
        (Topic::Texture, Buyers, English) => "Try a sample for the feel first.",
        (Topic::Texture, Makers, Korean) => "끈적임과 무게감을 줄인 처방을 시험하세요.",
        (Topic::Texture, Makers, English) => "Test a formula that feels lighter and less tacky.",
        (Topic::Texture, Marketers, Korean) => "제형을 영상으로 솔직하게 보여 주세요.",
        (Topic::Texture, Marketers, English) => "Show the texture honestly, on video.",
        (Topic::Finish, Buyers, Korean) => "지성이거나 화장 전에 쓴다면 소량부터 시험하세요.",
        (Topic::Finish, Buyers, English) => "With oily skin or under make-up, begin with a little.",
        (Topic::Finish, Makers, Korean) => "번들거림과 밀림을 함께 쓰는 제품 위에서 시험하세요.",
        (Topic::Finish, Makers, English) => "Test shine and pilling over the products it is used with.",
        (Topic::Finish, Marketers, Korean) => "피부 타입과 바르는 양을 안내하세요.",
        (Topic::Finish, Marketers, English) => "Say how much to use and for which skin.",
        (Topic::Scent, Buyers, Korean) => "향에 예민하면 매장에서 맡아 보거나 무향 제품을 고르세요.",
        (Topic::Scent, Buyers, English) => "If scents bother you, smell it first or choose one without.",
        (Topic::Scent, Makers, Korean) => "향의 세기를 낮추거나 무향 버전을 내세요.",
        (Topic::Scent, Makers, English) => "Turn the scent down or offer a version without.",
        (Topic::Scent, Marketers, Korean) => "향을 구체적으로 묘사해 놀라는 일이 없게 하세요.",
        (Topic::Scent, Marketers, English) => "Describe the scent plainly, so that it is no surprise.",
        (Topic::Effect, Buyers, Korean) => "한 달은 써 보고 판단하고, 큰 변화는 기대하지 마세요.",
        (Topic::Effect, Buyers, English) => "Give it a month and expect small changes.",
        (Topic::Effect, Makers, Korean) => "효과를 못 느낀 사용자의 피부 타입과 사용법을 조사하세요.",
        (Topic::Effect, Makers, English) => "Find out which skin and which use saw no effect.",
        (Topic::Effect, Marketers, Korean) => "검증된 효과만 말하고 걸리는 시간을 밝히세요.",
        (Topic::Effect, Marketers, English) => "Claim only what is proven, with the time it takes.",
        (Topic::Irritation, Buyers, Korean) => "민감하다면 팔 안쪽에 먼저 시험하세요.",
        (Topic::Irritation, Buyers, English) => "With sensitive skin, patch-test first.",
        (Topic::Irritation, Makers, Korean) => "해당 제품의 자극 성분을 점검하고 사용 주기를 표시하세요.",
        (Topic::Irritation, Makers, English) => "Check the irritants and print how often to use it.",
        (Topic::Irritation, Marketers, Korean) => "\"누구에게나 순하다\"는 표현은 피하세요.",
        (Topic::Irritation, Marketers, English) => "Avoid saying that it is gentle for everyone.",
        (Topic::Longevity, Buyers, Korean) => "긴 외출에는 덧바를 것을 챙기세요.",
        (Topic::Longevity, Buyers, English) => "Carry it with you on long days.",
        (Topic::Longevity, Makers, Korean) => "땀과 유분 조건에서 지속 시간을 측정하세요.",
        (Topic::Longevity, Makers, English) => "Measure wear time under sweat and oil.",
        (Topic::Longevity, Marketers, Korean) => "지속 시간은 조건과 함께 말하세요.",
        (Topic::Longevity, Marketers, English) => "State wear time with its conditions.",
        (Topic::Shade, Buyers, Korean) => "화면 색만 믿지 말고 매장에서 발라 보세요.",
        (Topic::Shade, Buyers, English) => "Swatch it in a shop; screens mislead.",
        (Topic::Shade, Makers, Korean) => "호수를 늘리고 산화로 어두워지는지 확인하세요.",
        (Topic::Shade, Makers, English) => "Widen the shade range and check for oxidation.",
        (Topic::Shade, Marketers, Korean) => "여러 피부 톤의 발색 사진을 쓰세요.",
        (Topic::Shade, Marketers, English) => "Show swatches on many skin tones.",
        (Topic::Price, Buyers, Korean) => "행사나 리필을 기다리세요.",
        (Topic::Price, Buyers, English) => "Wait for a sale or a refill.",
        (Topic::Price, Makers, Korean) => "대용량이나 리필로 용량당 가격을 낮추세요.",
        (Topic::Price, Makers, English) => "Lower the price per millilitre with a big size or a refill.",
        (Topic::Price, Marketers, Korean) => "하루 사용 비용으로 가치를 설명하세요.",
        (Topic::Price, Marketers, English) => "Explain the value as a cost per day.",
        (Topic::Packaging, Buyers, Korean) => "받은 즉시 뚜껑과 펌프를 확인하세요.",
        (Topic::Packaging, Buyers, English) => "Check lid and pump as soon as it arrives.",
        (Topic::Packaging, Makers, Korean) => "누출과 파손을 낙하·운송 시험으로 잡으세요.",
        (Topic::Packaging, Makers, English) => "Catch leaks and breakage with drop and transport tests.",
        (Topic::Packaging, Marketers, Korean) => "개선된 용기는 바뀐 점을 바로 알리세요.",
        (Topic::Packaging, Marketers, English) => "Announce every improvement of the container.",
        (Topic::Delivery, Buyers, Korean) => "교환·환불 조건이 분명한 곳에서 사세요.",
        (Topic::Delivery, Buyers, English) => "Buy where returns are easy.",
        (Topic::Delivery, Makers, Korean) => "완충 포장과 문의 응답 시간을 점검하세요.",
        (Topic::Delivery, Makers, English) => "Review padding and the time customer service takes.",
        (Topic::Delivery, Marketers, Korean) => "배송 불만 리뷰에 빠르게 답글을 다세요.",
        (Topic::Delivery, Marketers, English) => "Answer delivery complaints in public, and fast.",
    }
}
