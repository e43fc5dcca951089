//! Which brands and products the demo data set knows, and what people call them.

use serde::{Deserialize, Serialize};

use super::review::Language;

/// A brand of the data set. Closed, because the data set is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
        ROWS.iter().find(|row| row.brand == self).expect("every brand has a row; a test says so")
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

const fn product(brand: Brand, english: &'static str, korean: &'static str) -> Product {
    Product { brand, english, korean }
}

/// Every product of the data set.
pub const PRODUCTS: [Product; 32] = [
    product(Brand::Laneige, "Lip Sleeping Mask", "립 슬리핑 마스크"),
    product(Brand::Laneige, "Water Bank Blue Hyaluronic Cream", "워터뱅크 블루 히알루로닉 크림"),
    product(Brand::Laneige, "Neo Cushion Matte", "네오 쿠션 매트"),
    product(Brand::Laneige, "Cream Skin Toner", "크림 스킨 토너"),
    product(Brand::Innisfree, "Green Tea Seed Hyaluronic Serum", "그린티 씨드 히알루론산 세럼"),
    product(Brand::Innisfree, "No Sebum Mineral Powder", "노세범 미네랄 파우더"),
    product(Brand::Innisfree, "Volcanic Pore Clay Mask", "화산송이 모공 클레이 마스크"),
    product(Brand::Innisfree, "Daily UV Defense Sunscreen", "데일리 유브이 디펜스 선크림"),
    product(Brand::Cosrx, "Advanced Snail 96 Mucin Essence", "어드밴스드 스네일 96 뮤신 에센스"),
    product(Brand::Cosrx, "Low pH Good Morning Gel Cleanser", "약산성 굿모닝 젤 클렌저"),
    product(Brand::Cosrx, "Acne Pimple Master Patch", "아크네 핌플 마스터 패치"),
    product(Brand::Cosrx, "AHA/BHA Clarifying Treatment Toner", "AHA/BHA 클래리파잉 트리트먼트 토너"),
    product(Brand::Sulwhasoo, "First Care Activating Serum", "윤조에센스"),
    product(Brand::Sulwhasoo, "Concentrated Ginseng Cream", "자음생 크림"),
    product(Brand::Sulwhasoo, "Overnight Vitalizing Mask", "여윤팩"),
    product(Brand::Sulwhasoo, "Perfecting Cushion", "퍼펙팅 쿠션"),
    product(Brand::BeautyOfJoseon, "Relief Sun Rice + Probiotics", "맑은쌀 선크림"),
    product(Brand::BeautyOfJoseon, "Glow Serum Propolis + Niacinamide", "광채 세럼 프로폴리스"),
    product(Brand::BeautyOfJoseon, "Dynasty Cream", "조선미녀크림"),
    product(Brand::BeautyOfJoseon, "Revive Eye Serum Ginseng + Retinal", "인삼 레티날 아이 세럼"),
    product(Brand::Anua, "Heartleaf 77% Soothing Toner", "어성초 77 수딩 토너"),
    product(Brand::Anua, "Heartleaf Pore Control Cleansing Oil", "어성초 포어 컨트롤 클렌징 오일"),
    product(Brand::Anua, "Peach 70% Niacinamide Serum", "복숭아 70 나이아신 세럼"),
    product(Brand::Anua, "Heartleaf 80% Soothing Ampoule", "어성초 80 수딩 앰플"),
    product(Brand::Etude, "Fixing Tint", "픽싱 틴트"),
    product(Brand::Etude, "SoonJung 2x Barrier Intensive Cream", "순정 2x 베리어 인텐시브 크림"),
    product(Brand::Etude, "Drawing Eye Brow", "드로잉 아이브로우"),
    product(Brand::Etude, "Play Color Eyes Palette", "플레이 컬러 아이즈 팔레트"),
    product(Brand::RoundLab, "1025 Dokdo Toner", "1025 독도 토너"),
    product(Brand::RoundLab, "Birch Juice Moisturizing Sunscreen", "자작나무 수분 선크림"),
    product(Brand::RoundLab, "1025 Dokdo Cleanser", "1025 독도 클렌저"),
    product(Brand::RoundLab, "Pine Calming Cica Ampoule", "소나무 진정 시카 앰플"),
];
