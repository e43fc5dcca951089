//! Kinds of products, what people call them, and kinds that the data set doesn't have.

use serde::{Deserialize, Serialize};

use super::catalogue::{Brand, PRODUCTS, Product};
use super::review::Language;

/// A kind of product in the data set.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ProductType {
    /// Toner.
    Toner,
    /// Essence.
    Essence,
    /// Serum.
    Serum,
    /// Ampoule.
    Ampoule,
    /// Cream.
    Cream,
    /// Sunscreen.
    Sunscreen,
    /// Cleanser.
    Cleanser,
    /// Mask.
    Mask,
    /// Patch.
    Patch,
    /// Lip care.
    LipCare,
    /// Eye care.
    EyeCare,
    /// Cushion foundation.
    Cushion,
    /// Powder.
    Powder,
    /// Lip tint.
    Tint,
    /// Eyebrow pencil.
    Brow,
    /// Eyeshadow palette.
    Palette,
}

impl ProductType {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Toner,
        Self::Essence,
        Self::Serum,
        Self::Ampoule,
        Self::Cream,
        Self::Sunscreen,
        Self::Cleanser,
        Self::Mask,
        Self::Patch,
        Self::LipCare,
        Self::EyeCare,
        Self::Cushion,
        Self::Powder,
        Self::Tint,
        Self::Brow,
        Self::Palette,
    ];

    /// Whether it has a colour, or takes away shine, for a day.
    pub(crate) const fn is_make_up(self) -> bool {
        matches!(self, Self::Cushion | Self::Powder | Self::Tint | Self::Brow | Self::Palette)
    }

    /// Returns the name that a reader of `language` expects.
    #[must_use]
    pub const fn name(self, language: Language) -> &'static str {
        let (korean, english) = match self {
            Self::Toner => ("토너", "toner"),
            Self::Essence => ("에센스", "essence"),
            Self::Serum => ("세럼", "serum"),
            Self::Ampoule => ("앰플", "ampoule"),
            Self::Cream => ("크림", "cream"),
            Self::Sunscreen => ("선크림", "sunscreen"),
            Self::Cleanser => ("클렌저", "cleanser"),
            Self::Mask => ("마스크·팩", "mask"),
            Self::Patch => ("패치", "patch"),
            Self::LipCare => ("립케어", "lip care"),
            Self::EyeCare => ("아이케어", "eye care"),
            Self::Cushion => ("쿠션", "cushion"),
            Self::Powder => ("파우더", "powder"),
            Self::Tint => ("틴트", "tint"),
            Self::Brow => ("아이브로우", "eyebrow pencil"),
            Self::Palette => ("아이섀도 팔레트", "eyeshadow palette"),
        };
        match language {
            Language::Korean => korean,
            Language::English => english,
        }
    }

    /// What people call it.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Toner => &["toner", "토너"],
            Self::Essence => &["essence", "에센스"],
            Self::Serum => &["serum", "세럼"],
            Self::Ampoule => &["ampoule", "ampule", "앰플"],
            Self::Cream => &["cream", "moisturiser", "moisturizer", "수분크림", "크림"],
            Self::Sunscreen => &[
                "sunscreen",
                "sun screen",
                "sun cream",
                "sunblock",
                "spf",
                "선크림",
                "썬크림",
                "선스크린",
                "선블록",
                "자외선차단제",
                "자외선 차단",
                "선케어",
                "sun care",
            ],
            Self::Cleanser => &[
                "cleanser",
                "cleansing",
                "face wash",
                "facewash",
                "클렌저",
                "클렌징",
                "세안제",
                "클렌징폼",
                "폼클렌징",
            ],
            Self::Mask => &["mask", "face mask", "마스크", "팩"],
            Self::Patch => &["patch", "patches", "패치"],
            Self::LipCare => &["lip care", "lip balm", "lip product", "립밤", "립케어", "립제품"],
            Self::EyeCare => &["eye cream", "eye care", "아이크림", "아이케어"],
            Self::Cushion => &["cushion", "쿠션"],
            Self::Powder => &["powder", "파우더"],
            Self::Tint => &["tint", "lip tint", "틴트"],
            Self::Brow => &["brow", "eyebrow", "brow pencil", "eyebrow pencil", "아이브로우", "눈썹"],
            Self::Palette => &[
                "palette",
                "eyeshadow",
                "eye shadow",
                "eyeshadow palette",
                "팔레트",
                "아이섀도우",
                "아이섀도",
                "섀도우",
            ],
        }
    }

    /// The brands that have a product of this kind, in catalogue order.
    pub fn brands(self) -> impl Iterator<Item = Brand> {
        Brand::ALL.into_iter().filter(move |brand| self.in_brand(*brand))
    }

    /// Returns whether a brand has a product of this kind.
    #[must_use]
    pub fn in_brand(self, brand: Brand) -> bool {
        PRODUCTS.iter().any(|product| product.brand == brand && product.types.contains(&self))
    }
}

impl Product {
    /// Returns whether the product is of one of these kinds.
    #[must_use]
    pub fn is_one_of(&self, types: &[ProductType]) -> bool {
        self.types.iter().any(|own| types.contains(own))
    }
}

/// Kinds that people ask for and the data set doesn't have: Korean name, English name, further words.
pub(crate) const ABSENT: [(&str, &str, &[&str]); 26] = [
    ("샴푸", "shampoo", &[]),
    ("린스", "conditioner", &[]),
    ("향수", "perfume", &[]),
    ("마스카라", "mascara", &[]),
    ("파운데이션", "foundation", &[]),
    ("로션", "lotion", &[]),
    ("미스트", "mist", &["face mist"]),
    ("시트 마스크", "sheet mask", &["마스크팩", "시트팩"]),
    ("립스틱", "lipstick", &[]),
    ("립글로스", "lip gloss", &[]),
    ("블러셔", "blush", &["블러쉬"]),
    ("컨실러", "concealer", &[]),
    ("핸드크림", "hand cream", &["핸드 크림"]),
    ("바디로션", "body lotion", &["바디 로션"]),
    ("바디워시", "body wash", &["바디 워시"]),
    ("비비크림", "bb cream", &["bb크림"]),
    ("프라이머", "primer", &[]),
    ("아이라이너", "eyeliner", &["eye liner"]),
    ("하이라이터", "highlighter", &[]),
    ("데오드란트", "deodorant", &[]),
    ("치약", "toothpaste", &[]),
    ("헤어 오일", "hair oil", &["헤어오일"]),
    ("매니큐어", "nail polish", &["네일"]),
    ("보충제", "supplement", &["영양제"]),
    ("필링젤", "peeling gel", &["필링 젤"]),
    ("페이스 오일", "face oil", &["페이스오일"]),
];
