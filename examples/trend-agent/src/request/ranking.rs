//! Superlatives: which brand or product has the most or the least of what is measured.

use serde::{Deserialize, Serialize};

use super::Question;
use crate::message::Message;
use crate::text::mentions;

/// What subjects are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// How many reviews fit the conditions.
    Reviews,
    /// The share of the reviews that fits the conditions.
    Share,
    /// The mean rating.
    MeanRating,
}

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ranked {
    /// Brands.
    Brands,
    /// Products.
    Products,
}

/// A superlative: "which product has the most negative reviews".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ranking {
    /// What subjects are ordered by.
    pub measure: Measure,
    /// What is ordered.
    pub of: Ranked,
    /// Whether the highest is asked for; else the lowest.
    pub most: bool,
}

impl Ranking {
    /// The question that it answers.
    pub(crate) const fn question(self) -> Question {
        match self.measure {
            Measure::Reviews => Question::Count,
            Measure::Share => Question::Share,
            Measure::MeanRating if self.most => Question::Best,
            Measure::MeanRating => Question::Worst,
        }
    }
}

/// What else the message names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    /// One brand.
    pub(super) one_brand: bool,
    /// A kind of product.
    pub(super) typed: bool,
    /// Ratings.
    pub(super) rated: bool,
}

/// Whether a message asks which of all brands or products is the extreme one in a quality ("누가 제일 비싸대?"), so that none
/// needs to be named.
pub(super) fn is_of_all(lower: &str, question: Question, topics: bool) -> bool {
    let extreme = ["most", "least", "best", "worst", "가장", "제일", "최고", "최악", "^젤 ", "갑은", "갑이"];
    // "The stickiest", "the driest".
    let superlative = lower.split(|c: char| !c.is_ascii_alphabetic()).any(|word| {
        word.ends_with("est")
            && word.len() > 5
            && !["interest", "request", "latest", "newest", "honest"].contains(&word)
    });
    let subject = [
        "who",
        "which",
        "what",
        "what's",
        "brand",
        "brands",
        "product",
        "누가",
        "누구",
        "어디",
        "어느",
        "어떤",
        "뭐",
        "무엇",
        "뭔",
        "브랜드",
        "제품",
        "데가",
        "데는",
        "데야",
        "곳",
    ];
    topics
        && matches!(question, Question::Best | Question::Worst)
        && (superlative || mentions(lower, &extreme))
        && mentions(lower, &subject)
}

/// Whether a message (lower case) asks which brands or products have something ("who has leaky packaging", "배송이 느린 브랜드").
pub(super) fn asks_for_a_list(lower: &str) -> bool {
    let end = lower.trim_end_matches(['?', '!', '.', '~', ' ']);
    let korean = ["브랜드", "브랜드는", "브랜드가", "제품", "제품은", "제품이", "곳은", "곳", "데는"];
    let korean_verbs =
        [" 있어", " 있나", " 있음", " 뭐야", " 뭐임", " 어디야", " 어디임", " 알려줘", " 찾아줘", " 좀"];
    let bare = korean_verbs.iter().find_map(|verb| end.strip_suffix(verb)).unwrap_or(end);
    let english = [
        "who has",
        "who have",
        "who gets",
        "which",
        "brands with",
        "products with",
        "brand with",
        "any brand",
        "any product",
    ];
    korean.iter().any(|noun| bare.ends_with(noun)) || english.iter().any(|start| lower.starts_with(start))
}

/// Reads a superlative and its measure. `question` is the question as it was read without it.
pub(super) fn read(message: &mut Message, question: Question, named: Named) -> Option<Ranking> {
    let lower = message.lower().to_owned();
    // "평점이 가장 많이 떨어진 곳": the change is what is asked for, and not the rating.
    if question == Question::Change && mentions(&lower, &["떨어", "하락", "오른", "올랐", "상승"]) {
        return None;
    }
    let most: &[&str] = &[
        "most",
        "highest",
        "greatest",
        "largest",
        "biggest",
        "가장 많",
        "제일 많",
        "가장 높",
        "제일 높",
        "가장 큰",
        "제일 큰",
        "최다",
        "가장 … 많",
        "제일 … 많",
        "가장 … 높",
        "제일 … 높",
        "1위",
        "1등",
        "최고",
        "best-rated",
        "best rated",
        "top-rated",
        "top rated",
        "젤 많",
        "젤 높",
        "더 많",
        "더 높",
        "has more",
        "have more",
        "gets more",
        "get more",
    ];
    let least: &[&str] = &[
        "fewest",
        "least",
        "lowest",
        "smallest",
        "가장 적",
        "제일 적",
        "가장 낮",
        "제일 낮",
        "최저",
        "최소",
        "가장 … 적",
        "제일 … 적",
        "가장 … 낮",
        "제일 … 낮",
        "꼴찌",
        "젤 적",
        "젤 낮",
        "더 적",
        "더 낮",
        "has fewer",
        "have fewer",
        "gets fewer",
        "get fewer",
        "worst rated",
        "worst-rated",
    ];
    // "Top 3 products": by the rating, unless another measure is named.
    let top: &[&str] = &[
        "top 3",
        "top 5",
        "top 10",
        "top three",
        "top five",
        "top ten",
        "상위 3개",
        "상위 5개",
        "상위 10개",
    ];
    let (low, high) = (mentions(&lower, least), mentions(&lower, most) || mentions(&lower, top));
    // What people talk about most is a topic, and "most people" is no superlative.
    let other = [
        "most people",
        "most of",
        "most customers",
        "most buyers",
        "most users",
        "most about",
        "like most",
        "주제",
        "키워드",
        "topic",
        "topics",
        "at least",
        "최소한",
        "at most",
    ];
    if low == high || mentions(&lower, &other) {
        return None;
    }
    let products = mentions(&lower, &["product*", "제품", "상품", "item", "items"]);
    let brands = mentions(&lower, &["brand", "brands", "브랜드"]);
    let share = ["share", "percentage", "percent", "proportion", "rate of", "비율", "비중", "퍼센트"];
    let rating = [
        "rating",
        "ratings",
        "rated",
        "score",
        "scores",
        "average",
        "평점",
        "별점",
        "평균",
        "점수",
        "best-rated",
    ];
    let reviews = ["reviews", "reviewed", "review count", "number of reviews", "리뷰", "후기"];
    let opinions = [
        "complaint*",
        "complain*",
        "comments",
        "mentions",
        "mentioned",
        "praise*",
        "criticism*",
        "불만",
        "칭찬",
        "언급",
        "불평",
        "악평",
        "호평",
    ];
    let quantity = [
        "most",
        "fewest",
        "least",
        "more",
        "fewer",
        "많",
        "적",
        "최다",
        "최소",
        "number of",
        "수가",
        "수는",
        "건수",
    ];
    let asks_subject = products || brands || mentions(&lower, &["who", "which", "어디", "어느"]);
    let counts = named.rated || mentions(&lower, &reviews) || (asks_subject && mentions(&lower, &opinions));
    let measure = if question == Question::Share || mentions(&lower, &share) {
        Measure::Share
    } else if counts && mentions(&lower, &quantity) || question == Question::Count {
        Measure::Reviews
    } else if question == Question::MeanRating
        || mentions(&lower, &rating)
        || (mentions(&lower, top) && (products || brands))
    {
        Measure::MeanRating
    } else {
        return None;
    };
    message.says(&[
        "average", "mean", "score", "scores", "rating", "ratings", "rated", "평점", "별점", "평균", "점수",
    ]);
    message.says(most);
    message.says(top);
    message.says(least);
    message.says(&["많은", "적은", "높은", "낮은", "많이", "많아", "적어", "높아", "낮아"]);
    let of = if products || ((named.one_brand || named.typed) && !brands) {
        Ranked::Products
    } else {
        Ranked::Brands
    };
    Some(Ranking { measure, of, most: high })
}
