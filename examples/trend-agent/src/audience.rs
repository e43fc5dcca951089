//! Who a report is for, as people say it in Korean and English.

use serde::{Deserialize, Serialize};

use super::review::Language;
use super::text::mentions;

/// The reader of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// People who choose a product: 소비자.
    Buyers,
    /// People who make it: 브랜드·제품 담당자.
    Makers,
    /// People who sell it: 마케터.
    Marketers,
}

impl Audience {
    /// Every audience, in the order the question shows them.
    pub const ALL: [Self; 3] = [Self::Buyers, Self::Makers, Self::Marketers];

    /// The label in a question and in a report.
    #[must_use]
    pub const fn label(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Buyers, Language::Korean) => "소비자",
            (Self::Buyers, Language::English) => "buyers",
            (Self::Makers, Language::Korean) => "브랜드·제품 담당자",
            (Self::Makers, Language::English) => "makers",
            (Self::Marketers, Language::Korean) => "마케터",
            (Self::Marketers, Language::English) => "marketers",
        }
    }

    /// What the user is asked when a request leaves the audience open.
    #[must_use]
    pub const fn question(language: Language) -> &'static str {
        match language {
            Language::Korean => "보고서를 누구를 위해 작성할까요?",
            Language::English => "Who is the report for?",
        }
    }

    /// The labels to choose from, in the order of [`Audience::ALL`].
    #[must_use]
    pub fn options(language: Language) -> [&'static str; 3] {
        Self::ALL.map(|audience| audience.label(language))
    }

    /// The audience that an answer or a request names, in either language; nothing if it names none or several.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        // Alone it is an answer; in a sentence customers are often those who wrote the reviews.
        if matches!(lower.trim(), "customer" | "customers") {
            return Some(Self::Buyers);
        }
        let mut named = Self::ALL.into_iter().filter(|audience| mentions(&lower, audience.words()));
        named.next().filter(|_| named.next().is_none())
    }

    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Buyers => &[
                "buyer*",
                "consumer*",
                "shopper*",
                "for customer*",
                "for our customer*",
                "for the customer*",
                "to customer*",
                "customer-facing",
                "소비자",
                "구매자",
                "구매하",
                "살 사람",
                "고객용",
                "쇼핑",
            ],
            Self::Makers => &[
                "maker*",
                "manufacturer*",
                "brand manager*",
                "brand team",
                "product team",
                "product manager*",
                "r&d",
                "developer*",
                "브랜드 담당",
                "브랜드·제품",
                "제품 담당",
                "담당자",
                "제조사",
                "개발자",
                "개발팀",
                "연구원",
                "기획자",
                "기획팀",
            ],
            Self::Marketers => {
                &["marketer*", "marketing", "advertis*", "campaign*", "마케터", "마케팅", "광고", "홍보"]
            }
        }
    }
}
