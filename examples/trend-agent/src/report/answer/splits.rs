//! The reviews of one subject, compared by the kind of shop or by their language.

use super::super::{Say, line, percent};
use super::periods::{FEWEST, Side, rating_differs};
use crate::findings::Findings;
use crate::request::{Channel, Question, Split};
use crate::review::{Language, Review};

/// The verdict, and the figures of each part.
pub(super) fn compared(findings: &Findings, split: Split) -> String {
    let say = Say(findings.request.language);
    let reviews = findings.source_reviews();
    let part = |fits: &dyn Fn(&Review) -> bool| -> Side {
        let own: Vec<Review> =
            reviews.iter().filter(|review| fits(review)).map(|review| (*review).clone()).collect();
        Side::of(&own)
    };
    let named = &findings.request.channels;
    let mut parts: Vec<(String, Side)> = match split {
        Split::Channels => Channel::ALL
            .into_iter()
            .filter(|channel| named.is_empty() || named.contains(channel))
            .map(|channel| (channel.name(say.0).to_owned(), part(&|review| review.channel == channel.slug())))
            .collect(),
        Split::Languages => [
            (Language::Korean, say.of("한국어 리뷰", "reviews in Korean")),
            (Language::English, say.of("영어 리뷰", "reviews in English")),
        ]
        .into_iter()
        .map(|(language, name)| (name, part(&|review| review.lang == language)))
        .collect(),
    };
    let mut out = String::new();
    if findings.request.question == Question::Count {
        let counts = parts.iter().map(|(name, side)| {
            say.of(&format!("{name} **{}건**", side.reviews), &format!("{name} **{}**", side.reviews))
        });
        line(&mut out, &format!("{}.", counts.collect::<Vec<_>>().join(", ")));
    } else {
        line(&mut out, &verdict(&mut parts, say));
    }
    line(&mut out, "");
    for (name, side) in &parts {
        let (count, mean, good, bad) = (side.reviews, side.mean_rating, side.positive, side.negative);
        if count == 0 {
            line(&mut out, &say.of(&format!("- {name}: 리뷰 없음"), &format!("- {name}: no reviews")));
            continue;
        }
        let share = |part: usize| percent(part as f64 / count as f64);
        let (good_share, bad_share) = (share(good), share(bad));
        line(
            &mut out,
            &say.of(
                &format!("- {name}: 리뷰 {count}건, 평균 평점 {mean:.2}, 긍정 {good}건({good_share}), 부정 {bad}건({bad_share})"),
                &format!("- {name}: {count} reviews, mean rating {mean:.2}, {good} positive ({good_share}), {bad} negative ({bad_share})"),
            ),
        );
        for topic in &findings.request.topics {
            let what = topic.name(say.0);
            let Some(found) = side.topics.iter().find(|found| found.topic == *topic) else {
                line(
                    &mut out,
                    &say.of(&format!("  - {what}: 언급 없음"), &format!("  - {what}: no mention")),
                );
                continue;
            };
            let (all, good, bad) = (found.count, found.positive, found.negative);
            line(
                &mut out,
                &say.of(
                    &format!("  - {what}: 언급 {all}건 중 칭찬 {good}건, 불만 {bad}건"),
                    &format!("  - {what}: {good} of {all} mentions praise it, {bad} complain"),
                ),
            );
        }
    }
    out
}

/// Which part has the better ratings; the parts are put in that order.
fn verdict(parts: &mut [(String, Side)], say: Say) -> String {
    parts.sort_by(|(_, a), (_, b)| b.mean_rating.total_cmp(&a.mean_rating));
    let enough: Vec<&(String, Side)> = parts.iter().filter(|(_, side)| side.reviews >= FEWEST).collect();
    let (Some((high, best)), Some((low, worst))) = (enough.first(), enough.last()) else {
        return say.of(
            "리뷰가 너무 적어 차이를 말할 수 없습니다.",
            "There are too few reviews to speak of a difference.",
        );
    };
    if enough.len() < 2 {
        return say.of(
            &format!("리뷰가 충분한 것은 **{high}**뿐이라 차이를 말할 수 없습니다."),
            &format!("Only **{high}** has enough reviews, so there is no comparison."),
        );
    }
    let (top, bottom) = (best.mean_rating, worst.mean_rating);
    match rating_differs(worst, best) {
        Some(true) => say.of(
            &format!("평균 평점은 **{high}**({top:.2}) 쪽이 **{low}**({bottom:.2})보다 뚜렷하게 높습니다."),
            &format!("By mean rating, **{high}** ({top:.2}) is clearly above **{low}** ({bottom:.2})."),
        ),
        _ => say.of(
            &format!("평균 평점에는 뚜렷한 차이가 없습니다: **{high}** {top:.2}, **{low}** {bottom:.2}."),
            &format!("The mean ratings don't differ clearly: **{high}** {top:.2}, **{low}** {bottom:.2}."),
        ),
    }
}
