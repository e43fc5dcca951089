//! What a message asks: an overview, a number, a verdict, the reasons, the change over time, or whether something holds.

use serde::{Deserialize, Serialize};

use super::fault::{names_fault, wants_absence};
use super::sides::is_about_points;
use super::whether::asks_whether;
use crate::message::Message;

/// The kind of question.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// No question: an overview.
    #[default]
    Overview,
    /// How many reviews.
    Count,
    /// Which share of the reviews.
    Share,
    /// The mean rating.
    MeanRating,
    /// Which brand or product is best.
    Best,
    /// Which brand or product is worst.
    Worst,
    /// What people praise or complain of, and why.
    Reasons,
    /// What changed over time.
    Change,
    /// Whether something holds.
    Whether,
    /// What the data has; see [`Request::inventory`](super::Request::inventory).
    Inventory,
}

impl Question {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Overview,
        Self::Count,
        Self::Share,
        Self::MeanRating,
        Self::Best,
        Self::Worst,
        Self::Reasons,
        Self::Change,
        Self::Whether,
        Self::Inventory,
    ];

    /// Returns whether the answer is a number, so that it is the same for every reader.
    #[must_use]
    pub const fn is_for_a_number(self) -> bool {
        matches!(self, Self::Count | Self::Share | Self::MeanRating | Self::Inventory)
    }
}

/// A question as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) question: Question,
    /// Whether the quality asked about is a fault ("sticky"): more of it is worse.
    pub(super) fault: bool,
    pub(super) comparison: bool,
    /// Further numbers that are asked for.
    pub(super) also: Vec<Question>,
}

/// Words that ask for a share.
const SHARE: [&str; 16] = [
    "what percent*",
    "percent*",
    "which percentage",
    "what share",
    "share of",
    "proportion",
    "what fraction",
    "비율",
    "비중",
    "몇 %",
    "몇%",
    "몇 퍼센트",
    "몇퍼센트",
    "몇 프로",
    "몇프로",
    "퍼센트",
];

/// Words that ask for a number of reviews.
const COUNT: [&str; 27] = [
    "how many",
    "number of",
    "count",
    "count of",
    "total of",
    "몇 건",
    "몇건",
    "몇 개",
    "몇개",
    "몇 명",
    "몇명",
    "개수",
    "갯수",
    "건수",
    "리뷰 수",
    "후기 수",
    "몇 번",
    "총 몇",
    "얼마나 많",
    "how often",
    "얼마나 자주",
    "리뷰 갯수",
    "얼마나 있",
    "얼마나 되",
    "얼마나 돼",
    "몇 가지",
    "리뷰수",
];

/// Words that ask for the mean rating.
const RATING: [&str; 39] = [
    "average rating",
    "mean rating",
    "average score",
    "mean score",
    "average star*",
    "평균 평점",
    "평균 별점",
    "평균 점수",
    "평점은",
    "평점이 몇",
    "평점 몇",
    "평점이 어떻",
    "평점 알려",
    "별점은",
    "별점이 몇",
    "별점 평균",
    "평점 평균",
    "몇 점",
    "몇점",
    "what rating",
    "what is the rating",
    "what's the rating",
    "overall rating",
    "how is it rated",
    "the rating of",
    "평균은",
    "평균도",
    "평균이",
    "평균 알려",
    "평균?",
    "랑 평균",
    "와 평균",
    "과 평균",
    "하고 평균",
    "the average",
    "and average",
    "and mean",
    "its average",
    "their average",
];

/// Reads the question; `several` is whether the message names several brands or products. Runs after the filters, so that their words are understood already.
pub(super) fn read(message: &mut Message, topics: bool, several: bool) -> Asked {
    let lower = message.lower().to_owned();
    let fault = names_fault(&lower);
    let comparison = message.says(&[
        "compar*",
        "vs",
        "vs.",
        "versus",
        "against",
        "difference between",
        "differ*",
        "disagree*",
        "agree",
        "비교",
        "차이",
        "대결",
        "head to head",
    ]);
    // "Does it last longer than the other": only with two subjects, or it compares periods.
    let comparison = comparison || (several && message.says(&["than", "보다"]));
    let less = wants_absence(&lower)
        | message.says(&[
            "less",
            "least",
            "^덜 ",
            "덜한",
            "덜해",
            "덜하",
            "가장 적",
            "제일 적",
            "가장 안",
            "제일 안",
            "fewest",
            "lowest",
            "낮은 건",
            "적은 건",
        ]);
    let question = kind(message, fault, less, topics, comparison);
    // "개수랑 평균": a second number.
    let numbers = [(Question::Share, &SHARE[..]), (Question::Count, &COUNT), (Question::MeanRating, &RATING)];
    let also = numbers
        .into_iter()
        .filter(|(other, words)| question.is_for_a_number() && *other != question && message.says(words));
    let also = also.map(|(other, _)| other).collect();
    Asked { question, fault, comparison, also }
}

fn kind(message: &mut Message, fault: bool, less: bool, topics: bool, comparison: bool) -> Question {
    if message.says(&SHARE) {
        return Question::Share;
    }
    if message.says(&COUNT) {
        return Question::Count;
    }
    let change: &[&str] = &[
        "over time",
        "changed",
        "change",
        "changes",
        "changing",
        "improv*",
        "got worse",
        "getting worse",
        "got better",
        "getting better",
        "evolv*",
        "development",
        "변화",
        "변했",
        "달라졌",
        "달라진",
        "바뀌",
        "바뀐",
        "추이",
        "나아졌",
        "좋아졌",
        "나빠졌",
        "떨어졌",
        "떨어진",
        "하락",
        "올랐",
        "많이 오른",
        "가장 오른",
        "상승",
        "month by month",
        "by month",
        "per month",
        "monthly",
        "rating trend",
        "월별",
        "달별",
        "추세",
        "after the renewal",
        "리뉴얼 후",
        "리뉴얼 이후",
        "trending",
    ];
    if message.says(change) {
        return Question::Change;
    }
    // "The worst thing about it" asks for complaints, and not for the worst of several.
    if is_about_points(message.lower()) {
        return Question::Reasons;
    }
    let superlative = message
        .says(&["가장", "제일", "최고", "최저", "most", "best", "worst", "highest", "lowest", "top", "최악"]);
    // "5월 vs 6월 전체 평점": a noun at the end is what is asked for.
    let lower = message.lower().trim_end_matches(['?', '!', '.', ' ']);
    let asks_rating =
        ["평점", "별점", "평균", "average", "rating"].iter().any(|noun| lower.ends_with(noun)) && !topics;
    if !superlative && (message.says(&RATING) || asks_rating) {
        return Question::MeanRating;
    }
    let worst: &[&str] = &[
        "worst",
        "worse",
        "slowest",
        "젤 느린",
        "제일 느린",
        "가장 느린",
        "lowest",
        "least popular",
        "lowest rated",
        "lowest-rated",
        "most complain*",
        "most negative",
        "최악",
        "제일 별로",
        "가장 별로",
        "가장 나쁜",
        "제일 나쁜",
        "평점이 가장 낮",
        "평점이 제일 낮",
        "가장 낮",
        "평점 낮은",
        "평점이 낮은",
        "제일 낮",
        "불만이 가장",
        "불만이 제일",
        "불만이 더",
        "불만이 많",
        "더 나쁜",
        "더 별로",
        "혹평이 가장",
    ];
    let best: &[&str] = &[
        "best",
        "better",
        "cheapest",
        "갑은",
        "top rated",
        "top-rated",
        "highest",
        "most popular",
        "most positive",
        "most loved",
        "should i buy",
        "should i choose",
        "should i get",
        "which one should",
        "recommend*",
        "worth buying",
        "winner",
        "prefer*",
        "happiest",
        "most satisfied",
        "선호",
        "추천",
        "뭐가 나아",
        "뭐가 나을",
        "뭐가 더",
        "어느 게 더",
        "어느게 더",
        "어느 쪽이",
        "어떤 게 더",
        "어떤게 더",
        "무엇이 더",
        "어디가 더",
        "더 나은",
        "더 나아",
        "더 좋",
        "가장 좋",
        "제일 좋",
        "가장 높",
        "제일 높",
        "살까",
        "사야",
        "순위",
        "ranking*",
        "rank",
        "ranked",
        "인기 있는",
        "인기있는",
        "1위",
        "가장 만족",
        "제일 만족",
    ];
    if message.says(worst) {
        return Question::Worst;
    }
    // "The best toner for breakouts": what is wanted is good, whatever it is for.
    let wanted = [
        "best",
        "better",
        "should i buy",
        "should i choose",
        "should i get",
        "recommend*",
        "worth buying",
        "prefer*",
        "추천",
        "더 나은",
        "더 나아",
        "뭐가 나아",
        "더 좋",
        "가장 좋",
        "제일 좋",
        "살까",
        "사야",
    ];
    if message.says(&wanted) {
        return Question::Best;
    }
    // "리뷰만 골라줘" chooses reviews, and not a product.
    let lower = message.lower();
    let of_reviews = ["리뷰", "후기", "개", "건"].iter().any(|noun| {
        ["", "만", "를", "만 좀", " 좀"]
            .iter()
            .any(|particle| lower.contains(&format!("{noun}{particle} 골라")))
    });
    let chooses = !of_reviews && message.says(&["골라"]);
    if message.says(best) || chooses {
        return if fault && !less { Question::Worst } else { Question::Best };
    }
    let which: &[&str] = &[
        "which",
        "어느",
        "어떤 제품",
        "어떤 브랜드",
        "어떤 게",
        "어떤게",
        "어떤 것",
        "뭐가",
        "무엇이",
        "어디가",
        "more",
        "^더 ",
        "가장",
        "제일",
        "most",
        "^덜 ",
    ];
    if (topics || fault) && (message.says(which) || less || superlative) {
        return if fault && !less { Question::Worst } else { Question::Best };
    }
    let reasons: &[&str] = &[
        "why",
        "reason*",
        "what do people",
        "what do buyers",
        "what do customers",
        "what do users",
        "what do reviewers",
        "what did people",
        "what did buyers",
        "what did customers",
        "what did users",
        "what did reviewers",
        "what are the main",
        "what are people",
        "왜",
        "이유",
        "뭐가 문제",
        "뭐가 좋",
        "문제점",
        "원인",
        "장단점",
        "pros and cons",
        "어떤 점",
        "무슨 점",
        "뭐라고",
        "what is wrong",
        "what's wrong",
        "problem*",
        "good and bad",
    ];
    if message.says(reasons) {
        return Question::Reasons;
    }
    if (topics || fault) && !comparison && asks_whether(message) {
        return Question::Whether;
    }
    Question::Overview
}
