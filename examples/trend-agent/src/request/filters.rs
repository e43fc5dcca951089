//! Which reviews a message means: sentiment, language of the review, kind of shop; and the language of the answer.

use serde::{Deserialize, Serialize};

use super::sides::{NEGATIVE, POSITIVE};
use crate::catalogue::Brand;
use crate::message::Message;
use crate::review::Language;
use crate::sentiment::Polarity;
use crate::text::{is_hangul, mentions};

/// A kind of shop that a review was written in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The brand's own shop.
    BrandShop,
    /// A beauty store.
    BeautyStore,
    /// An open market.
    OpenMarket,
    /// A review app.
    ReviewApp,
    /// Social media.
    Social,
}

impl Channel {
    /// Every kind of shop.
    pub const ALL: [Self; 5] =
        [Self::BrandShop, Self::BeautyStore, Self::OpenMarket, Self::ReviewApp, Self::Social];

    /// Returns the name used in the data.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::BrandShop => "brand-shop",
            Self::BeautyStore => "beauty-store",
            Self::OpenMarket => "open-market",
            Self::ReviewApp => "review-app",
            Self::Social => "social",
        }
    }

    /// Returns the name that a reader of `language` expects.
    #[must_use]
    pub const fn name(self, language: Language) -> &'static str {
        let (korean, english) = match self {
            Self::BrandShop => ("브랜드몰", "brand shops"),
            Self::BeautyStore => ("뷰티 스토어", "beauty stores"),
            Self::OpenMarket => ("오픈마켓", "open markets"),
            Self::ReviewApp => ("리뷰 앱", "review apps"),
            Self::Social => ("소셜 미디어", "social media"),
        };
        match language {
            Language::Korean => korean,
            Language::English => english,
        }
    }

    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::BrandShop => &[
                "brand shop",
                "brand store",
                "brand mall",
                "official store",
                "official shop",
                "own shop",
                "브랜드몰",
                "브랜드샵",
                "브랜드숍",
                "공식몰",
                "자사몰",
                "공식 스토어",
            ],
            Self::BeautyStore => {
                &["beauty store", "beauty shop", "drugstore", "뷰티스토어", "뷰티샵", "드럭스토어", "로드샵"]
            }
            Self::OpenMarket => &["open market", "marketplace", "오픈마켓", "마켓플레이스"],
            Self::ReviewApp => &["review app", "리뷰앱", "후기앱"],
            Self::Social => &["social media", "social", "sns", "소셜미디어", "소셜"],
        }
    }

    /// Single shops: the data only has their kind.
    const fn shops(self) -> &'static [&'static str] {
        match self {
            Self::BrandShop => &[],
            Self::BeautyStore => &["olive young", "올리브영", "sephora", "세포라"],
            Self::OpenMarket => {
                &["coupang", "쿠팡", "amazon", "아마존", "gmarket", "지마켓", "11번가", "qoo10"]
            }
            Self::ReviewApp => &["hwahae", "화해", "glowpick", "글로우픽"],
            Self::Social => &[
                "instagram",
                "인스타그램",
                "인스타",
                "tiktok",
                "틱톡",
                "youtube",
                "유튜브",
                "twitter",
                "트위터",
            ],
        }
    }
}

/// Reads kinds of shops, and whether the message names a single shop.
pub(super) fn channels(message: &mut Message) -> (Vec<Channel>, bool) {
    let kinds = message.mentions(
        Channel::ALL.into_iter().flat_map(|kind| kind.words().iter().map(move |word| (kind, *word))),
    );
    let shops = message.mentions(
        Channel::ALL.into_iter().flat_map(|kind| kind.shops().iter().map(move |word| (kind, *word))),
    );
    let named: Vec<_> = kinds.iter().chain(&shops).collect();
    let wanted = |kind: Channel| named.iter().any(|mention| mention.what == kind && !mention.excluded);
    let excluded = |kind: Channel| named.iter().any(|mention| mention.what == kind && mention.excluded);
    let any = Channel::ALL.into_iter().any(wanted);
    let only_excluded = !any && Channel::ALL.into_iter().any(excluded);
    let kept =
        Channel::ALL.into_iter().filter(|kind| if only_excluded { !excluded(*kind) } else { wanted(*kind) });
    (kept.collect(), !shops.is_empty())
}

/// What the reviews of one subject are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Kinds of shops.
    Channels,
    /// Languages of the reviews.
    Languages,
}

/// What a comparison is by, if it names two kinds of shops or both languages.
pub(super) fn split(
    message: &mut Message,
    comparison: bool,
    channels: &[Channel],
    languages: ReviewLanguages,
) -> Option<Split> {
    let by_channel = [
        "판매처별",
        "채널별",
        "쇼핑몰별",
        "구매처별",
        "by channel",
        "per channel",
        "by shop",
        "per shop",
        "by store",
        "each channel",
        "which channel",
        "which shop",
        "which store",
        "어느 판매처",
        "어떤 판매처",
        "어느 채널",
        "어떤 채널",
    ];
    let by_language = ["언어별", "by language", "per language", "each language", "which language"];
    // "각각", "which of the two": parts that are named are compared.
    let each =
        ["각각", "따로", "each", "respectively", "separately", "중 어디", "중에 어디", "중 어느", "어디가"];
    if message.says(&by_language) {
        return Some(Split::Languages);
    }
    // "리뷰가 제일 많은 판매처": the extreme of the shops, and not of the brands.
    let shops = ["판매처", "채널", "쇼핑몰", "구매처", "channel", "shop", "store", "retailer"];
    let extreme = ["가장", "제일", "most", "fewest", "best", "worst", "highest", "lowest"];
    let extreme_shop = channels.is_empty() && mentions(message.lower(), &extreme) && message.says(&shops);
    if message.says(&by_channel) || extreme_shop {
        return Some(Split::Channels);
    }
    let several = languages.both || channels.len() > 1;
    if !several || !(comparison || message.says(&each)) {
        return None;
    }
    Some(if languages.both { Split::Languages } else { Split::Channels })
}

/// A sentiment that reviews must have, and one that they must not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sentiments {
    pub(super) wanted: Option<Polarity>,
    pub(super) excluded: Option<Polarity>,
    /// Whether several are asked for.
    pub(super) both: bool,
}

/// Reads which sentiment a message asks for, and which it excludes; nothing if it asks for both sides.
pub(super) fn sentiment(message: &mut Message) -> Sentiments {
    let places = |message: &Message, words: &[&str]| message.places(words);
    let mut found: Vec<_> =
        places(message, &NEGATIVE).into_iter().map(|span| (span, Polarity::Negative)).collect();
    found.extend(places(message, &POSITIVE).into_iter().map(|span| (span, Polarity::Positive)));
    found.extend(
        places(message, &["neutral", "중립", "lukewarm"]).into_iter().map(|span| (span, Polarity::Neutral)),
    );
    found.sort_unstable_by_key(|(span, _)| *span);
    for (span, _) in &found {
        message.mark(*span);
    }
    let (mut kinds, mut excluded): (Vec<Polarity>, Vec<Polarity>) = (Vec::new(), Vec::new());
    for mention in message.with_exclusion(found) {
        let absent = mention.excluded || message.is_absent(mention.span);
        let list = if absent { &mut excluded } else { &mut kinds };
        if !list.contains(&mention.what) {
            list.push(mention.what);
        }
    }
    excluded.retain(|kind| !kinds.contains(kind));
    // Two of the three: the third one is left out.
    let third = [Polarity::Positive, Polarity::Neutral, Polarity::Negative];
    let third = third
        .into_iter()
        .find(|kind| !kinds.contains(kind))
        .filter(|third| kinds.len() == 2 && (*third != Polarity::Neutral || excluded.contains(third)));
    if third.is_some() {
        return Sentiments { wanted: None, excluded: third, both: false };
    }
    // "장단점" and "pros and cons" are both sides.
    if message.take(&["장단점", "good and bad", "sentiment*", "감성", "호불호"]).is_some() || kinds.len() > 1
    {
        return Sentiments { both: true, ..Sentiments::default() };
    }
    // "부정 말고 긍정": what is wanted leaves nothing to exclude.
    let wanted = kinds.first().copied();
    Sentiments { wanted, excluded: excluded.first().copied().filter(|_| wanted.is_none()), both: false }
}

/// The languages of reviews that a message names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ReviewLanguages {
    /// Only reviews in this language.
    pub(super) only: Option<Language>,
    /// Whether it names both.
    pub(super) both: bool,
    /// Whether it names the origin of reviewers, which the data only has as the language of the review.
    pub(super) origin: bool,
}

/// Reads the language of the reviews that a message asks for.
pub(super) fn review_language(message: &mut Message) -> ReviewLanguages {
    let korean: &[&str] = &[
        "korean reviews",
        "korean review",
        "korean-language",
        "korean language",
        "written in korean",
        "only korean",
        "korean ones",
        "korean only",
        "korean-speaking",
        "한국어 리뷰",
        "한국어 후기",
        "한글 리뷰",
        "한글 후기",
        "한국어로 쓴",
        "한국어로 쓰인",
        "한국어로 된",
        "한국어로 작성된",
        "한국어로 남긴",
        "한국어만",
        "한국어 것",
        "한글로 쓴",
        "한글로 된",
        "국문 리뷰",
        "우리말 리뷰",
        "korean reviewers",
        "korean reviewer",
        "in korean only",
        "only in korean",
        "the korean",
        "한국어 원문",
        "리뷰가 한국어",
        "리뷰는 한국어",
        "후기가 한국어",
        "후기는 한국어",
        "한국어인",
        "reviews are in korean",
        "reviews were in korean",
        "reviews are there in korean",
        "reviews do you have in korean",
        "ones in korean",
        "wrote in korean",
        "writing in korean",
    ];
    let english: &[&str] = &[
        "english reviews",
        "english review",
        "english-language",
        "english language",
        "written in english",
        "only english",
        "english ones",
        "english only",
        "english-speaking",
        "english reviewers",
        "english reviewer",
        "영어 리뷰",
        "영어 후기",
        "영문 리뷰",
        "영문 후기",
        "영어로 쓴",
        "영어로 쓰인",
        "영어로 된",
        "영어로 작성된",
        "영어로 남긴",
        "영어만",
        "영어 것",
        "영문으로 된",
        "영어 원문",
        "in english only",
        "only in english",
        "the english",
        "리뷰가 영어",
        "리뷰는 영어",
        "후기가 영어",
        "후기는 영어",
        "영어인",
        "reviews are in english",
        "reviews were in english",
        "reviews are there in english",
        "reviews do you have in english",
        "ones in english",
        "wrote in english",
        "writing in english",
    ];
    let mut found: Vec<_> = message.places(korean).into_iter().map(|span| (span, Language::Korean)).collect();
    found.extend(message.places(english).into_iter().map(|span| (span, Language::English)));
    // "List the reviews in Korean", "how many reviews in Korean": what is asked for is in one language.
    let plain = [
        "how many",
        "number of",
        "count",
        "share of",
        "percent*",
        "list",
        "show",
        "quote",
        "average",
        "mean",
    ];
    if mentions(message.lower(), &plain) {
        let named = |message: &Message, word| message.places(&[word]);
        found.extend(named(message, "reviews in korean").into_iter().map(|span| (span, Language::Korean)));
        found.extend(named(message, "reviews in english").into_iter().map(|span| (span, Language::English)));
    }
    found.sort_unstable_by_key(|(span, _)| *span);
    for (span, _) in &found {
        message.mark(*span);
    }
    let both = [
        "korean and english",
        "english and korean",
        "한국어와 영어",
        "영어와 한국어",
        "한국어랑 영어",
        "영어랑 한국어",
    ];
    let lower = message.lower().to_owned();
    let koreans = ["koreans", "한국인", "한국 사람", "내국인", "korean buyers", "korean customers"];
    let others = ["foreign*", "international*", "non-korean*", "외국인", "외국 사람", "해외 사람"];
    let origins = mentions(&lower, &koreans) && message.says(&others) && message.says(&koreans);
    if origins || message.says(&both) {
        return ReviewLanguages { only: None, both: true, origin: origins };
    }
    let named = message.with_exclusion(found);
    let wanted = |language| named.iter().any(|mention| mention.what == language && !mention.excluded);
    let excluded = |language| named.iter().any(|mention| mention.what == language && mention.excluded);
    let both = wanted(Language::Korean) && wanted(Language::English);
    let only = match (wanted(Language::Korean), wanted(Language::English)) {
        (true, false) => Some(Language::Korean),
        (false, true) => Some(Language::English),
        (true, true) => None,
        (false, false) if excluded(Language::Korean) => Some(Language::English),
        (false, false) if excluded(Language::English) => Some(Language::Korean),
        (false, false) => None,
    };
    ReviewLanguages { only, both, origin: false }
}

/// Reads the language that a message asks the answer to be in.
pub(super) fn asked_language(message: &mut Message) -> Option<Language> {
    let english = [
        "in english",
        "into english",
        "to english",
        "영어로",
        "영문으로",
        "영어 보고서",
        "english report",
        "영어 버전",
        "english version",
    ];
    if message.take(&english).is_some() {
        return Some(Language::English);
    }
    let korean = [
        "in korean",
        "into korean",
        "to korean",
        "한국어로",
        "한글로",
        "우리말로",
        "국문으로",
        "한국어 보고서",
        "korean report",
        "한국어 버전",
        "korean version",
    ];
    message.take(&korean).map(|_| Language::Korean)
}

/// The language of the words around the brand names.
pub(super) fn language_of(lower: &str) -> Language {
    let mut around = lower.to_owned();
    for alias in Brand::ALL.iter().flat_map(|brand| brand.aliases()) {
        around = around.replace(alias, " ");
    }
    let letters = |text: &str| {
        let hangul = text.chars().filter(|c| is_hangul(*c)).count();
        (hangul, text.chars().filter(char::is_ascii_alphabetic).count())
    };
    let (mut hangul, mut latin) = letters(&around);
    if hangul + latin == 0 {
        (hangul, latin) = letters(lower);
    }
    // A sentence that ends in a Korean word is Korean, whatever names are in it.
    let last = around.split(|c: char| !c.is_alphanumeric()).rfind(|word| !word.is_empty());
    if hangul >= 3 && last.is_some_and(|word| word.chars().all(is_hangul)) {
        return Language::Korean;
    }
    // A Korean sentence needs fewer letters than the Latin names in it.
    if hangul > 0 && hangul * 2 >= latin { Language::Korean } else { Language::English }
}
