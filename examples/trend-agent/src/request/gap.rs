//! What a message asks for and the data doesn't have, by name.

use serde::{Deserialize, Serialize};

use crate::message::Message;
use crate::review::Language;
use crate::text::mentions;

/// A kind of information that the data set doesn't have.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// Sales, market shares, revenue.
    Sales,
    /// Prices in money.
    Prices,
    /// Ingredients.
    Ingredients,
    /// The age of reviewers.
    Age,
    /// The gender of reviewers.
    Gender,
    /// The skin type of reviewers.
    SkinType,
    /// Countries and regions.
    Region,
    /// Single shops.
    Shops,
    /// Forecasts.
    Forecast,
    /// Photos and videos.
    Photos,
    /// Who the reviewers are, and whether they are genuine.
    Reviewers,
    /// Stock and release dates.
    Availability,
    /// Answers of the brand to reviews.
    Replies,
    /// The company: employees, shares, founders.
    Company,
}

/// Each gap with its words and its Korean and English names.
const ROWS: [(Gap, &[&str], &str, &str); 14] = [
    (
        Gap::Sales,
        &[
            "sales",
            "revenue",
            "market share",
            "best-selling",
            "bestsell*",
            "sold",
            "units",
            "매출",
            "판매량",
            "점유율",
            "판매 순위",
            "팔렸",
            "많이 팔",
        ],
        "판매량·매출",
        "sales figures",
    ),
    (
        Gap::Prices,
        &[
            "how much does",
            "how much is",
            "how much do",
            "how much are",
            "price in won",
            "price list",
            "얼마야",
            "얼마예요",
            "얼마에요",
            "얼마인가",
            "얼마입니",
            "얼마죠",
            "몇 원",
            "정가",
            "할인율",
            "in dollars",
            "krw",
        ],
        "금액으로 된 가격",
        "prices in money",
    ),
    (Gap::Ingredients, &["ingredient*", "formula", "성분", "전성분", "함량"], "성분", "ingredients"),
    (
        Gap::Age,
        &[
            "age",
            "ages",
            "age group*",
            "teenager*",
            "teens",
            "twenties",
            "thirties",
            "forties",
            "fifties",
            "gen z",
            "millennial*",
            "연령",
            "나이대",
            "10대",
            "20대",
            "30대",
            "40대",
            "50대",
            "60대",
            "청소년",
            "mz세대",
        ],
        "작성자의 나이",
        "the age of reviewers",
    ),
    (
        Gap::Gender,
        &["men", "women", "male", "female", "gender", "남성", "여성", "남자", "여자", "성별"],
        "작성자의 성별",
        "the gender of reviewers",
    ),
    (
        Gap::SkinType,
        &[
            "skin type*",
            "oily skin",
            "dry skin",
            "combination skin",
            "피부 타입",
            "피부타입",
            "지성 피부",
            "건성 피부",
            "지성피부",
            "건성피부",
            "복합성",
            "지성용",
            "건성용",
            "지성",
            "건성",
        ],
        "작성자의 피부 타입",
        "the skin type of reviewers",
    ),
    (
        Gap::Region,
        &[
            "country",
            "countries",
            "region*",
            "in the us",
            "in the usa",
            "american*",
            "in america",
            "in europe",
            "in japan",
            "japanese",
            "chinese",
            "in china",
            "in korea",
            "korean buyers",
            "korean customers",
            "국가",
            "나라",
            "지역",
            "미국",
            "일본",
            "중국",
            "유럽",
            "해외",
            "국내",
            "서울",
        ],
        "국가·지역",
        "countries and regions",
    ),
    (
        Gap::Forecast,
        &[
            "forecast*",
            "predict*",
            "next month",
            "next year",
            "next quarter",
            "in the future",
            "will be",
            "예측",
            "전망",
            "다음 달",
            "내년",
            "다음 분기",
            "앞으로",
        ],
        "앞으로의 예측",
        "forecasts",
    ),
    (
        Gap::Photos,
        &["photo*", "picture*", "image*", "video*", "사진", "이미지", "동영상", "영상 리뷰"],
        "사진·영상",
        "photos and videos",
    ),
    (
        Gap::Reviewers,
        &[
            "fake reviews",
            "verified",
            "who wrote",
            "usernames",
            "작성자",
            "가짜 리뷰",
            "인증",
            "체험단",
            "협찬",
            "sponsored",
        ],
        "작성자 정보",
        "who wrote a review",
    ),
    (
        Gap::Availability,
        &[
            "in stock",
            "out of stock",
            "restock*",
            "release date",
            "launch date",
            "재고",
            "품절",
            "재입고",
            "출시일",
            "언제 출시",
            "유통기한",
        ],
        "재고·출시일",
        "stock and release dates",
    ),
    (
        Gap::Replies,
        &["brand replies", "seller replies", "답글", "판매자 답변", "브랜드 답변"],
        "브랜드의 답글",
        "replies of the brand",
    ),
    (
        Gap::Company,
        &[
            "employees",
            "ceo",
            "stock price",
            "share price",
            "founder*",
            "headquarter*",
            "주가",
            "직원",
            "대표이사",
            "창업",
            "본사",
            "시가총액",
        ],
        "회사 정보",
        "facts about the company",
    ),
    (Gap::Shops, &[], "개별 쇼핑몰(판매처의 종류만 있음)", "single shops (only kinds of shops)"),
];

/// Words that rank by price. Reviews have opinions about prices, which answer such a question in part: they are read as a
/// topic too.
const PRICE_RANKS: [&str; 13] = [
    "cheapest",
    "most expensive",
    "least expensive",
    "lowest price",
    "lowest-priced",
    "최저가",
    "가장 저렴",
    "제일 저렴",
    "가장 싼",
    "제일 싼",
    "가장 비싼",
    "제일 비싼",
    "젤 싼",
];

impl Gap {
    /// Every gap.
    pub const ALL: [Self; 14] = [
        Self::Sales,
        Self::Prices,
        Self::Ingredients,
        Self::Age,
        Self::Gender,
        Self::SkinType,
        Self::Region,
        Self::Shops,
        Self::Forecast,
        Self::Photos,
        Self::Reviewers,
        Self::Availability,
        Self::Replies,
        Self::Company,
    ];

    /// Returns the name that a reader of `language` expects.
    #[must_use]
    pub fn name(self, language: Language) -> &'static str {
        let row = ROWS.iter().find(|row| row.0 == self);
        row.map_or("", |(_, _, korean, english)| match language {
            Language::Korean => korean,
            Language::English => english,
        })
    }
}

/// Reads what the data doesn't have.
pub(super) fn read(message: &mut Message) -> Vec<Gap> {
    ROWS.iter()
        .filter(|(gap, words, ..)| {
            let found = message.places(words);
            for span in &found {
                message.mark(*span);
            }
            !found.is_empty() || (*gap == Gap::Prices && mentions(message.lower(), &PRICE_RANKS))
        })
        .map(|(gap, ..)| *gap)
        .collect()
}
