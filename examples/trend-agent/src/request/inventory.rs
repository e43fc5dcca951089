//! Questions for what the data has: `which languages are there`, `어떤 브랜드가 있어?`, `what toners do you have`.

use serde::{Deserialize, Serialize};

use crate::message::Message;
use crate::text::mentions;

/// A part of the data that a message asks for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Inventory {
    /// The brands.
    Brands,
    /// The products.
    Products,
    /// The kinds of products.
    ProductTypes,
    /// The languages of the reviews.
    Languages,
    /// The kinds of shops.
    Channels,
    /// The topics.
    Topics,
    /// The first and the last day.
    Period,
}

/// Korean and English nouns of each part; longer ones first.
const NOUNS: [(Inventory, &[&str], &[&str]); 6] = [
    (
        Inventory::ProductTypes,
        &["제품 종류", "제품 유형", "상품 종류", "제품군", "카테고리"],
        &["product types", "types of products", "kinds of products", "product categories", "categories"],
    ),
    (Inventory::Brands, &["브랜드"], &["brands", "brand"]),
    (Inventory::Products, &["제품", "상품"], &["products", "product", "items"]),
    (Inventory::Languages, &["언어"], &["languages", "language"]),
    (
        Inventory::Channels,
        &["판매처", "채널", "쇼핑몰", "구매처"],
        &["channels", "shops", "stores", "sources", "retailers", "channel"],
    ),
    (Inventory::Topics, &["주제", "토픽"], &["topics", "topic"]),
];

/// What follows a Korean noun and its particle.
const KOREAN_AFTER: [&str; 20] = [
    "뭐 있",
    "뭐가 있",
    "뭐뭐 있",
    "뭐뭐가 있",
    "뭐뭐 다루",
    "뭐 다루",
    "뭐야",
    "뭐예요",
    "뭐에요",
    "뭔가요",
    "무엇",
    "어떤 게 있",
    "어떤게 있",
    "어떤 것",
    "어떤 거",
    "몇 개",
    "몇개",
    "몇 가지",
    "목록",
    "리스트",
];

/// What follows "어떤", a noun and its particle.
const KOREAN_WHICH_AFTER: [&str; 7] = ["있", "다루", "분석할 수", "분석 가능", "지원", "포함", "가지고"];

const PARTICLES: [&str; 7] = ["은 ", "는 ", "이 ", "가 ", "들은 ", "들이 ", " "];

/// What precedes and follows an English noun.
const ENGLISH_BEFORE: [&str; 7] =
    ["which", "what", "how many", "how many different", "what kinds of", "which kinds of", "what other"];
const ENGLISH_AFTER: [&str; 16] = [
    "are the reviews from",
    "are they from",
    "do the reviews come from",
    "are there",
    "do you have",
    "do you know",
    "do you cover",
    "are available",
    "are covered",
    "are included",
    "are in",
    "does",
    "do the reviews",
    "can you",
    "can i",
    "exist",
];
const ENGLISH_LISTS: [&str; 7] =
    ["list of", "list of the", "list the", "list all", "list your", "available", "supported"];

/// Words for the days that the data covers.
const PERIOD: [&str; 28] = [
    "몇 월까지 있",
    "몇월까지 있",
    "몇 년도",
    "언제까지 있",
    "언제부터 있",
    "언제부터야",
    "기간이 언제",
    "기간은 언제",
    "데이터 기간",
    "언제부터 언제까지",
    "몇 월부터 몇 월까지",
    "언제까지의 리뷰",
    "언제 리뷰까지",
    "date range",
    "time range",
    "time span",
    "what period does",
    "which period does",
    "what period do",
    "which period do",
    "what period is",
    "which period is",
    "how far back",
    "how old is the data",
    "how recent is the data",
    "how current is the data",
    "which dates",
    "what dates",
];

/// Words that ask for the products of a kind that the message names.
const OF_A_KIND: [&str; 12] = [
    "뭐 있",
    "뭐가 있",
    "뭐뭐 있",
    "뭐뭐가 있",
    "어떤 게 있",
    "어떤게 있",
    "어떤 거 있",
    "어떤거 있",
    "what … do you have",
    "which … do you have",
    "what … are there",
    "which … are there",
];

/// Reads which parts of the data the message asks for; `typed` is whether it names a kind of product.
pub(super) fn read(message: &mut Message, typed: bool) -> Vec<Inventory> {
    let mut found = Vec::new();
    for (part, korean, english) in NOUNS {
        let patterns = korean.iter().filter(|noun| message.lower().contains(**noun)).flat_map(|noun| {
            let after = PARTICLES.iter().flat_map(move |particle| {
                KOREAN_AFTER.iter().map(move |after| format!("{noun}{particle}{after}"))
            });
            let which = PARTICLES.iter().flat_map(move |particle| {
                ["어떤 ", "무슨 ", "어느 "].into_iter().flat_map(move |which| {
                    KOREAN_WHICH_AFTER.iter().map(move |after| format!("{which}{noun}{particle}{after}"))
                })
            });
            let several = ["몇 개 ", "몇개 ", "몇 개의 ", "몇 가지 "];
            after.chain(which).chain(several.into_iter().map(move |several| format!("{several}{noun}")))
        });
        let english = english.iter().filter(|noun| message.lower().contains(**noun)).flat_map(|noun| {
            let asks = ENGLISH_BEFORE.iter().flat_map(move |before| {
                ENGLISH_AFTER.iter().map(move |after| format!("{before} {noun} {after}"))
            });
            asks.chain(ENGLISH_LISTS.iter().map(move |before| format!("{before} {noun}")))
        });
        let patterns: Vec<String> = patterns.chain(english).collect();
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        if message.says(&patterns) && !found.contains(&part) {
            found.push(part);
        }
    }
    // "어떤 제품 종류" names no products.
    if found.contains(&Inventory::ProductTypes) {
        found.retain(|part| *part != Inventory::Products);
    }
    if message.says(&PERIOD) {
        found.push(Inventory::Period);
    }
    if found.is_empty() && typed && message.says(&OF_A_KIND) {
        found.push(Inventory::Products);
    }
    found
}

/// Whether a text (lower case) is about reviews or what they have, so that a number of them can be meant.
pub(super) fn is_about_reviews(lower: &str) -> bool {
    mentions(lower, &["review*", "rating*", "rated", "stars", "리뷰", "후기", "평점", "별점", "평가"])
}
