//! Whether something holds, by the opinions of the reviews that speak about it.

use super::super::{Say, korean, line};
use super::{evidence, overview, topic_name};
use crate::findings::Findings;
use crate::request::Request;
use crate::sentiment::Polarity;
use crate::topics::TopicFinding;

/// The answer, brand by brand and topic by topic.
pub(super) fn whether(findings: &Findings, say: Say) -> String {
    let mut out = String::new();
    let request = &findings.request;
    for finding in &findings.brands {
        let name = finding.brand.name(say.0);
        for topic in &request.topics {
            let what = topic_name(request, *topic, say.0);
            let Some(found) = finding.topics.iter().find(|found| found.topic == *topic) else {
                line(
                    &mut out,
                    &say.of(
                        &format!("**{name}**: 조건에 맞는 리뷰 중 {what}에 대해 말하는 것이 없어 답할 수 없습니다."),
                        &format!("**{name}**: no review that fits the conditions mentions {what}, so this cannot be answered."),
                    ),
                );
                continue;
            };
            let (good, bad, all) = (found.positive, found.negative, found.count);
            let verdict = verdict(request, found, say);
            line(&mut out, &say.of(
                &format!("**{name}**: {verdict}. {} 말하는 리뷰 {all}건 중 {good}건이 칭찬하고 {bad}건이 불만입니다.", korean::with(&what, "을", "를")),
                &format!("**{name}**: {verdict}. Of {all} reviews that mention {what}, {good} praise it and {bad} complain."),
            ));
            let side = request.claim.filter(|_| request.anyone);
            for polarity in [Polarity::Positive, Polarity::Negative] {
                if side.is_some_and(|side| side != polarity) {
                    continue;
                }
                if let Some(quote) = found.quotes.iter().find(|quote| quote.polarity == polarity) {
                    line(&mut out, &evidence(*topic, quote, say.0));
                }
            }
        }
    }
    if out.is_empty() { overview(findings, say) } else { out }
}

/// What the counts mean for the question.
fn verdict(request: &Request, found: &TopicFinding, say: Say) -> String {
    let (good, bad) = (found.positive, found.negative);
    let claim = request.claim.or(request.fault.then_some(Polarity::Negative));
    if request.anyone
        && let Some(claim) = request.claim
    {
        // "Does anyone say so" asks for one side, however many are on the other.
        let count = if claim == Polarity::Positive { good } else { bad };
        return match (count, claim) {
            (0, Polarity::Positive) => say.of("그렇게 칭찬하는 리뷰는 없습니다", "no review praises it"),
            (0, _) => say.of("그런 불만을 말하는 리뷰는 없습니다", "no review complains of it"),
            (_, Polarity::Positive) => {
                say.of(&format!("그렇게 칭찬하는 리뷰가 {count}건 있습니다"), &format!("{count} praise it"))
            }
            (_, _) => say.of(
                &format!("그런 불만을 말하는 리뷰가 {count}건 있습니다"),
                &format!("{count} complain of it"),
            ),
        };
    }
    let Some(claim) = claim else {
        return match (good * 3 >= (good + bad) * 2, bad * 3 >= (good + bad) * 2) {
            (true, false) => say.of("칭찬이 더 많습니다", "mostly praise"),
            (false, true) => say.of("불만이 더 많습니다", "mostly complaints"),
            _ if good + bad == 0 => say.of("칭찬도 불만도 없습니다", "neither praise nor complaints"),
            _ => say.of("의견이 갈립니다", "opinions differ"),
        };
    };
    let (yes, no) = if claim == Polarity::Negative { (bad, good) } else { (good, bad) };
    match (yes * 3 >= (yes + no) * 2, no * 3 >= (yes + no) * 2) {
        (true, false) => say.of("대체로 그렇습니다", "mostly yes"),
        (false, true) => say.of("대체로 아닙니다", "mostly no"),
        _ if yes + no == 0 => say.of("칭찬도 불만도 없습니다", "neither praise nor complaints"),
        _ => say.of("의견이 갈립니다", "opinions differ"),
    }
}
