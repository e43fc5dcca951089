//! The brands and products of the demo data set, with the names people use for them.

use serde::{Deserialize, Serialize};

use super::product_type::ProductType::{
    self, Ampoule, Brow, Cleanser, Cream, Cushion, Essence, EyeCare, LipCare, Mask, Palette, Patch, Powder,
    Serum, Sunscreen, Tint, Toner,
};
use super::review::Language;

/// A brand of the data set. Closed, because the data set is compiled in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Brand {
    /// Laneige, 라네즈.
    Laneige,
    /// Innisfree, 이니스프리.
    Innisfree,
    /// COSRX, 코스알엑스.
    Cosrx,
    /// Sulwhasoo, 설화수.
    Sulwhasoo,
    /// Beauty of Joseon, 조선미녀.
    BeautyOfJoseon,
    /// Anua, 아누아.
    Anua,
    /// ETUDE, 에뛰드.
    Etude,
    /// Round Lab, 라운드랩.
    RoundLab,
}

/// A product of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Who makes it.
    pub brand: Brand,
    /// English name, the key used in the data.
    pub english: &'static str,
    /// Korean name.
    pub korean: &'static str,
    /// What kind of product it is.
    #[serde(skip)]
    pub types: &'static [ProductType],
    /// Shorter names that people use.
    #[serde(skip)]
    pub short_names: &'static [&'static str],
}

struct Row {
    brand: Brand,
    slug: &'static str,
    english: &'static str,
    korean: &'static str,
    /// Lower case, without spaces; matched against a message treated the same way.
    aliases: &'static [&'static str],
}

const ROWS: [Row; 8] = [
    Row {
        brand: Brand::Laneige,
        slug: "laneige",
        english: "Laneige",
        korean: "라네즈",
        aliases: &["laneige", "라네즈", "라네쥬"],
    },
    Row {
        brand: Brand::Innisfree,
        slug: "innisfree",
        english: "Innisfree",
        korean: "이니스프리",
        aliases: &["innisfree", "이니스프리", "이니스프라"],
    },
    Row {
        brand: Brand::Cosrx,
        slug: "cosrx",
        english: "COSRX",
        korean: "코스알엑스",
        aliases: &["cosrx", "cos-rx", "코스알엑스", "코스알액스"],
    },
    Row {
        brand: Brand::Sulwhasoo,
        slug: "sulwhasoo",
        english: "Sulwhasoo",
        korean: "설화수",
        aliases: &["sulwhasoo", "sulhwasoo", "설화수"],
    },
    Row {
        brand: Brand::BeautyOfJoseon,
        slug: "beauty_of_joseon",
        english: "Beauty of Joseon",
        korean: "조선미녀",
        aliases: &[
            "beautyofjoseon",
            "beauty_of_joseon",
            "beauty-of-joseon",
            "boj",
            "조선미녀",
            "뷰티오브조선",
        ],
    },
    Row {
        brand: Brand::Anua, slug: "anua", english: "Anua", korean: "아누아", aliases: &["anua", "아누아"]
    },
    Row {
        brand: Brand::Etude,
        slug: "etude",
        english: "ETUDE",
        korean: "에뛰드",
        aliases: &["etude", "etudehouse", "에뛰드하우스", "에뛰드", "에뜌드"],
    },
    Row {
        brand: Brand::RoundLab,
        slug: "round_lab",
        english: "Round Lab",
        korean: "라운드랩",
        aliases: &["roundlab", "round_lab", "round-lab", "라운드랩"],
    },
];

impl Brand {
    /// Every brand, in the order of the catalogue.
    pub const ALL: [Self; 8] = [
        Self::Laneige,
        Self::Innisfree,
        Self::Cosrx,
        Self::Sulwhasoo,
        Self::BeautyOfJoseon,
        Self::Anua,
        Self::Etude,
        Self::RoundLab,
    ];

    fn row(self) -> &'static Row {
        ROWS.iter().find(|row| row.brand == self).expect("every brand has a row; checked by a test")
    }

    /// The name used in the data and in ids: lower case, `_` between words.
    #[must_use]
    pub fn slug(self) -> &'static str {
        self.row().slug
    }

    /// The name a reader of `language` expects.
    #[must_use]
    pub fn name(self, language: Language) -> &'static str {
        match language {
            Language::Korean => self.row().korean,
            Language::English => self.row().english,
        }
    }

    /// What people type for it: lower case, no spaces.
    #[must_use]
    pub fn aliases(self) -> &'static [&'static str] {
        self.row().aliases
    }

    /// The brand written exactly as a slug, a name or an alias, ignoring case and spaces.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let squeezed: String =
            name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
        Self::ALL.into_iter().find(|brand| brand.aliases().contains(&squeezed.as_str()))
    }
}

impl Product {
    /// The name a reader of `language` expects.
    #[must_use]
    pub fn name(&self, language: Language) -> &'static str {
        match language {
            Language::Korean => self.korean,
            Language::English => self.english,
        }
    }

    /// The product with this English name, which is the key in the data.
    #[must_use]
    pub fn find(english: &str) -> Option<&'static Self> {
        PRODUCTS.iter().find(|product| product.english == english)
    }
}

const fn product(
    brand: Brand,
    english: &'static str,
    korean: &'static str,
    types: &'static [ProductType],
    short_names: &'static [&'static str],
) -> Product {
    Product { brand, english, korean, types, short_names }
}

/// Every product of the data set.
pub const PRODUCTS: [Product; 32] = [
    product(
        Brand::Laneige,
        "Lip Sleeping Mask",
        "립 슬리핑 마스크",
        &[LipCare, Mask],
        &["lip mask", "sleeping mask", "립 마스크", "슬리핑 마스크"],
    ),
    product(
        Brand::Laneige,
        "Water Bank Blue Hyaluronic Cream",
        "워터뱅크 블루 히알루로닉 크림",
        &[Cream],
        &["water bank", "hyaluronic cream", "워터뱅크", "히알루로닉 크림"],
    ),
    product(Brand::Laneige, "Neo Cushion Matte", "네오 쿠션 매트", &[Cushion], &["neo cushion", "네오 쿠션"]),
    product(Brand::Laneige, "Cream Skin Toner", "크림 스킨 토너", &[Toner], &["cream skin", "크림 스킨"]),
    product(
        Brand::Innisfree,
        "Green Tea Seed Hyaluronic Serum",
        "그린티 씨드 히알루론산 세럼",
        &[Serum],
        &[
            "green tea seed serum",
            "green tea serum",
            "green tea seed",
            "그린티 세럼",
            "그린티 씨드",
            "그린티",
        ],
    ),
    product(
        Brand::Innisfree,
        "No Sebum Mineral Powder",
        "노세범 미네랄 파우더",
        &[Powder],
        &["no sebum powder", "no sebum", "노세범 파우더", "노세범"],
    ),
    product(
        Brand::Innisfree,
        "Volcanic Pore Clay Mask",
        "화산송이 모공 클레이 마스크",
        &[Mask],
        &[
            "volcanic clay mask",
            "volcanic mask",
            "clay mask",
            "volcanic",
            "화산송이 마스크",
            "화산송이 팩",
            "화산송이",
            "클레이 마스크",
        ],
    ),
    product(
        Brand::Innisfree,
        "Daily UV Defense Sunscreen",
        "데일리 유브이 디펜스 선크림",
        &[Sunscreen],
        &["daily uv defense", "uv defense", "데일리 유브이", "유브이 디펜스"],
    ),
    product(
        Brand::Cosrx,
        "Advanced Snail 96 Mucin Essence",
        "어드밴스드 스네일 96 뮤신 에센스",
        &[Essence],
        &[
            "snail mucin essence",
            "snail essence",
            "snail mucin",
            "snail 96",
            "스네일 에센스",
            "스네일 96",
            "스네일",
            "달팽이 에센스",
            "달팽이",
        ],
    ),
    product(
        Brand::Cosrx,
        "Low pH Good Morning Gel Cleanser",
        "약산성 굿모닝 젤 클렌저",
        &[Cleanser],
        &[
            "good morning gel cleanser",
            "good morning cleanser",
            "low ph cleanser",
            "gel cleanser",
            "굿모닝 클렌저",
            "굿모닝 젤",
            "젤 클렌저",
            "약산성 클렌저",
        ],
    ),
    product(
        Brand::Cosrx,
        "Acne Pimple Master Patch",
        "아크네 핌플 마스터 패치",
        &[Patch],
        &[
            "pimple master patch",
            "acne patch",
            "pimple patch",
            "master patch",
            "핌플 패치",
            "마스터 패치",
            "여드름 패치",
        ],
    ),
    product(
        Brand::Cosrx,
        "AHA/BHA Clarifying Treatment Toner",
        "AHA/BHA 클래리파잉 트리트먼트 토너",
        &[Toner],
        &["aha/bha toner", "aha/bha", "aha bha", "clarifying toner", "클래리파잉 토너"],
    ),
    product(
        Brand::Sulwhasoo,
        "First Care Activating Serum",
        "윤조에센스",
        &[Serum, Essence],
        &["first care serum", "first care", "윤조 에센스", "윤조", "퍼스트케어"],
    ),
    product(
        Brand::Sulwhasoo,
        "Concentrated Ginseng Cream",
        "자음생 크림",
        &[Cream],
        &["ginseng cream", "자음생크림", "자음생"],
    ),
    product(
        Brand::Sulwhasoo,
        "Overnight Vitalizing Mask",
        "여윤팩",
        &[Mask],
        &["overnight mask", "vitalizing mask", "여윤"],
    ),
    product(Brand::Sulwhasoo, "Perfecting Cushion", "퍼펙팅 쿠션", &[Cushion], &["퍼펙팅"]),
    product(
        Brand::BeautyOfJoseon,
        "Relief Sun Rice + Probiotics",
        "맑은쌀 선크림",
        &[Sunscreen],
        &["relief sun", "rice sunscreen", "맑은쌀"],
    ),
    product(
        Brand::BeautyOfJoseon,
        "Glow Serum Propolis + Niacinamide",
        "광채 세럼 프로폴리스",
        &[Serum],
        &["glow serum", "propolis serum", "광채 세럼", "프로폴리스 세럼"],
    ),
    product(Brand::BeautyOfJoseon, "Dynasty Cream", "조선미녀크림", &[Cream], &["dynasty cream"]),
    product(
        Brand::BeautyOfJoseon,
        "Revive Eye Serum Ginseng + Retinal",
        "인삼 레티날 아이 세럼",
        &[EyeCare, Serum],
        &["revive eye serum", "eye serum", "아이 세럼", "레티날 세럼"],
    ),
    product(
        Brand::Anua,
        "Heartleaf 77% Soothing Toner",
        "어성초 77 수딩 토너",
        &[Toner],
        &[
            "heartleaf 77 toner",
            "heartleaf toner",
            "heartleaf 77",
            "heartleaf",
            "어성초 77 토너",
            "어성초 토너",
            "어성초 77",
            "어성초",
        ],
    ),
    product(
        Brand::Anua,
        "Heartleaf Pore Control Cleansing Oil",
        "어성초 포어 컨트롤 클렌징 오일",
        &[Cleanser],
        &[
            "heartleaf cleansing oil",
            "cleansing oil",
            "pore control oil",
            "heartleaf",
            "어성초 클렌징 오일",
            "클렌징 오일",
            "어성초",
        ],
    ),
    product(
        Brand::Anua,
        "Peach 70% Niacinamide Serum",
        "복숭아 70 나이아신 세럼",
        &[Serum],
        &["peach serum", "peach niacinamide", "peach 70", "복숭아 세럼", "복숭아 70"],
    ),
    product(
        Brand::Anua,
        "Heartleaf 80% Soothing Ampoule",
        "어성초 80 수딩 앰플",
        &[Ampoule],
        &[
            "heartleaf 80 ampoule",
            "heartleaf ampoule",
            "heartleaf 80",
            "heartleaf",
            "어성초 80 앰플",
            "어성초 앰플",
            "어성초 80",
            "수딩 앰플",
            "어성초",
        ],
    ),
    product(Brand::Etude, "Fixing Tint", "픽싱 틴트", &[Tint], &["픽싱틴트"]),
    product(
        Brand::Etude,
        "SoonJung 2x Barrier Intensive Cream",
        "순정 2x 베리어 인텐시브 크림",
        &[Cream],
        &["soonjung cream", "soonjung", "barrier cream", "순정 크림", "베리어 크림"],
    ),
    product(
        Brand::Etude,
        "Drawing Eye Brow",
        "드로잉 아이브로우",
        &[Brow],
        &["drawing eyebrow", "drawing brow"],
    ),
    product(
        Brand::Etude,
        "Play Color Eyes Palette",
        "플레이 컬러 아이즈 팔레트",
        &[Palette],
        &["play color eyes", "play color palette", "play color", "플레이 컬러"],
    ),
    product(
        Brand::RoundLab,
        "1025 Dokdo Toner",
        "1025 독도 토너",
        &[Toner],
        &["dokdo toner", "dokdo", "독도 토너", "독도"],
    ),
    product(
        Brand::RoundLab,
        "Birch Juice Moisturizing Sunscreen",
        "자작나무 수분 선크림",
        &[Sunscreen],
        &["birch juice sunscreen", "birch sunscreen", "birch juice", "birch", "자작나무 선크림", "자작나무"],
    ),
    product(
        Brand::RoundLab,
        "1025 Dokdo Cleanser",
        "1025 독도 클렌저",
        &[Cleanser],
        &["dokdo cleanser", "dokdo", "독도 클렌저", "독도"],
    ),
    product(
        Brand::RoundLab,
        "Pine Calming Cica Ampoule",
        "소나무 진정 시카 앰플",
        &[Ampoule],
        &["pine calming ampoule", "pine ampoule", "cica ampoule", "소나무 앰플", "시카 앰플"],
    ),
];
