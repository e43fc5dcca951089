//! What a message asks: an overview, a number, a verdict, the reasons, the change over time, or whether something holds.

use serde::{Deserialize, Serialize};

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
}

impl Question {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Overview,
        Self::Count,
        Self::Share,
        Self::MeanRating,
        Self::Best,
        Self::Worst,
        Self::Reasons,
        Self::Change,
        Self::Whether,
    ];

    /// Returns whether the answer is a number, so that it is the same for every reader.
    #[must_use]
    pub const fn is_for_a_number(self) -> bool {
        matches!(self, Self::Count | Self::Share | Self::MeanRating)
    }
}

/// A question as it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) question: Question,
    /// Whether the quality asked about is a fault ("sticky"): more of it is worse.
    pub(super) fault: bool,
    pub(super) comparison: bool,
}

/// Words for qualities of which more is worse.
const FAULTS: [&str; 43] = [
    "stick*",
    "tacky",
    "greas*",
    "oily",
    "oili*",
    "dry",
    "dries",
    "drying",
    "dryer",
    "drier",
    "irritat*",
    "sting*",
    "burn*",
    "breakout*",
    "break out",
    "expensive",
    "pricey",
    "overpriced",
    "white cast",
    "pilling",
    "pills",
    "leak*",
    "heavy",
    "heavier",
    "shiny",
    "shine",
    "side effect*",
    "끈적",
    "건조하",
    "건조한",
    "자극",
    "트러블",
    "따가",
    "따갑",
    "비싸",
    "비싼",
    "번들",
    "백탁",
    "밀림",
    "밀리",
    "부작용",
    "무거",
    "무겁",
];

/// Reads the question. Runs after the filters, so that their words are understood already.
pub(super) fn read(message: &mut Message, topics: bool) -> Asked {
    let lower = message.lower().to_owned();
    let fault = crate::text::mentions(&lower, &FAULTS);
    let comparison = message.says(&[
        "compar*",
        "vs",
        "vs.",
        "versus",
        "against",
        "difference between",
        "differ*",
        "비교",
        "차이",
        "대결",
        "head to head",
    ]);
    let less = wants_absence(&lower)
        | message.says(&[
            "less",
            "least",
            "덜 ",
            "덜한",
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
    Asked { question, fault, comparison }
}

/// Whether a word names a fault.
pub(super) fn is_fault(word: &str) -> bool {
    FAULTS.iter().any(|fault| word.starts_with(fault.trim_end_matches('*')))
}

/// Whether a message (lower case) asks for the absence of a fault: "not sticky", "자극 없는", "끈적이지 않은".
pub(super) fn wants_absence(lower: &str) -> bool {
    let english =
        FAULTS.iter().filter(|fault| fault.is_ascii()).flat_map(|fault| crate::text::find(lower, fault));
    let english = english.into_iter().any(|(from, _)| {
        let before = lower[..from].trim_end_matches([' ', '-']);
        ["not", "no", "non", "without", "never", "n't", "not too", "less"]
            .iter()
            .any(|word| before.ends_with(word))
    });
    let korean =
        FAULTS.iter().filter(|fault| !fault.is_ascii()).flat_map(|fault| crate::text::find(lower, fault));
    let korean = korean.into_iter().any(|(from, to)| {
        let after = crate::text::head(&lower[to..], 10);
        let absent = ["지 않", "없는", "없이", "적은", "덜한"].iter().any(|word| after.contains(word));
        absent || lower[..from].ends_with(" 안 ") || lower[..from].ends_with("덜 ")
    });
    english || korean
}

fn kind(message: &mut Message, fault: bool, less: bool, topics: bool, comparison: bool) -> Question {
    let share: &[&str] = &[
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
    if message.says(share) {
        return Question::Share;
    }
    let count: &[&str] = &[
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
    ];
    if message.says(count) {
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
        "올랐",
        "month by month",
        "after the renewal",
        "리뉴얼 후",
        "리뉴얼 이후",
        "trending",
    ];
    if message.says(change) {
        return Question::Change;
    }
    let superlative = message
        .says(&["가장", "제일", "최고", "최저", "most", "best", "worst", "highest", "lowest", "top", "최악"]);
    let rating: &[&str] = &[
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
    ];
    if !superlative && message.says(rating) {
        return Question::MeanRating;
    }
    let worst: &[&str] = &[
        "worst",
        "worse",
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
        "추천",
        "골라",
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
    if message.says(best) {
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
        "더 ",
        "가장",
        "제일",
        "most",
        "덜 ",
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

fn asks_whether(message: &mut Message) -> bool {
    let lower = message.lower().trim().to_owned();
    let auxiliary = [
        "is", "are", "does", "do", "did", "was", "were", "has", "have", "can", "will", "would", "isn't",
        "aren't", "doesn't",
    ];
    let first = |part: &str| {
        let part = part.trim_start();
        let end = part.find(|c: char| !c.is_alphanumeric() && c != '\'').unwrap_or(part.len());
        auxiliary.contains(&&part[..end])
    };
    let english = lower.contains('?') && lower.split([':', ',', ';', '.']).any(first);
    let text = lower.trim_end_matches(['?', '!', '.', ' ']);
    let korean = [
        "나요",
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
    ];
    let ends = korean.iter().any(|end| text.ends_with(end));
    english
        || (ends
            && (lower.ends_with('?')
                || text.ends_with("나요")
                || text.ends_with("가요")
                || text.ends_with("어때")))
}
