//! What a message is about: brands, products, kinds of products, and which of them it excludes.

use serde::{Deserialize, Serialize};

use crate::catalogue::{Brand, PRODUCTS, Product};
use crate::message::{Mention, Message, Span};
use crate::product_type::{ABSENT, ProductType};
use crate::review::Language;
use crate::text::{is_hangul, mentions};
use crate::words::words;

/// What a request excludes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Excluded {
    /// These brands.
    pub brands: Vec<Brand>,
    /// These products (English names).
    pub products: Vec<String>,
    /// These kinds of products.
    pub product_types: Vec<ProductType>,
    /// Reviews that only speak about these topics.
    pub topics: Vec<crate::topics::Topic>,
    /// Reviews of this sentiment.
    pub sentiment: Option<crate::sentiment::Polarity>,
    /// Reviews of these days.
    pub period: Option<crate::period::Period>,
}

impl Excluded {
    /// Returns whether nothing is excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The subjects as they are named.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    pub(super) brands: Vec<Brand>,
    pub(super) products: Vec<&'static Product>,
    pub(super) types: Vec<ProductType>,
    pub(super) excluded_brands: Vec<Brand>,
    pub(super) excluded_products: Vec<&'static Product>,
    pub(super) excluded_types: Vec<ProductType>,
    /// Kinds of products that the data set doesn't have: an index of [`ABSENT`].
    pub(super) absent: Vec<usize>,
    /// Places of brands that the data doesn't have and the message does not exclude.
    pub(super) strangers: Vec<Span>,
    /// Whether the message asks for all brands.
    pub(super) all: bool,
}

/// A brand in a message.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    Known(Brand),
    /// One of [`crate::words::Words::other_brands`].
    Stranger,
}

impl Subjects {
    pub(super) fn named(&self) -> bool {
        !(self.brands.is_empty()
            && self.products.is_empty()
            && self.types.is_empty()
            && self.absent.is_empty())
            || self.all
    }

    /// The same in the order of the catalogue.
    pub(super) fn sorted(mut self) -> Self {
        let place = |product: &&'static Product| PRODUCTS.iter().position(|own| own == *product);
        self.brands.sort_unstable();
        self.excluded_brands.sort_unstable();
        self.products.sort_by_key(place);
        self.excluded_products.sort_by_key(place);
        self.types.sort_unstable();
        self.excluded_types.sort_unstable();
        self
    }

    pub(super) fn excludes(&self) -> bool {
        !(self.excluded_brands.is_empty()
            && self.excluded_products.is_empty()
            && self.excluded_types.is_empty())
    }
}

/// Reads the subjects.
pub(super) fn read(message: &mut Message) -> Subjects {
    let mut subjects = Subjects::default();
    // Full names of products come first: "조선미녀크림" is a product, not the brand.
    let names = PRODUCTS.iter().enumerate().flat_map(|(at, product)| {
        let own = [product.english, product.korean].into_iter();
        own.chain(product.short_names.iter().copied()).map(move |name| (at, name))
    });
    let products = message.mentions(names);
    // Short Korean names occur inside other words ("헤라" in "전해라"), so they must start one.
    let strangers = words().other_brands.iter().map(|name| {
        let korean = name.chars().any(is_hangul);
        (Name::Stranger, if korean { format!("^{name}") } else { (*name).to_owned() })
    });
    let brands = message.proper_mentions(
        Brand::ALL
            .into_iter()
            .flat_map(|brand| brand.aliases().iter().map(move |alias| (Name::Known(brand), *alias))),
        strangers,
    );
    for Mention { what, excluded, span } in brands {
        match what {
            Name::Known(brand) if excluded => push(&mut subjects.excluded_brands, brand),
            Name::Known(brand) => push(&mut subjects.brands, brand),
            Name::Stranger if excluded => {}
            Name::Stranger => push(&mut subjects.strangers, span),
        }
    }
    // A name that several brands or products share means those of the brands named beside it.
    for Mention { what, excluded, span } in &products {
        let product = &PRODUCTS[*what];
        let shared = products.iter().any(|other| other.span == *span && other.what != *what);
        let wanted = subjects.brands.is_empty() || subjects.brands.contains(&product.brand);
        if !shared || wanted || *excluded {
            push(if *excluded { &mut subjects.excluded_products } else { &mut subjects.products }, product);
        }
    }
    let absent = message.mentions(ABSENT.iter().enumerate().flat_map(|(at, (korean, english, more))| {
        [*korean, *english].into_iter().chain(more.iter().copied()).map(move |name| (at, name))
    }));
    subjects.absent =
        absent.into_iter().filter(|mention| !mention.excluded).map(|mention| mention.what).collect();
    subjects.absent.dedup();
    // What a cleanser removes is no subject.
    if subjects.products.iter().any(|product| product.types.contains(&ProductType::Cleanser)) {
        subjects.absent.clear();
    }
    let types =
        ProductType::ALL.into_iter().flat_map(|kind| kind.words().iter().map(move |word| (kind, *word)));
    for mention in kinds(message, types.collect()) {
        // "워터뱅크 크림": the kind is part of the product's name.
        let named = products.iter().any(|product| {
            let between = message.lower().get(product.span.1..mention.span.0);
            between.is_some_and(|between| between.trim().is_empty())
                && PRODUCTS[product.what].types.contains(&mention.what)
        });
        if named {
            continue;
        }
        push(if mention.excluded { &mut subjects.excluded_types } else { &mut subjects.types }, mention.what);
    }
    // "Does it pill under makeup": make-up that another product is used with.
    let used_with = [
        "under",
        "over",
        "with",
        "on top of",
        "remov*",
        "takes off",
        "take off",
        "밑에",
        "전에",
        "위에",
        "지워",
    ];
    if subjects.types.is_empty()
        && subjects.products.is_empty()
        && !mentions(message.lower(), &used_with)
        && message.take(&["makeup", "make-up", "색조", "메이크업 제품", "color cosmetics"]).is_some()
    {
        use ProductType::{Brow, Cushion, Palette, Powder, Tint};
        subjects.types = vec![Cushion, Powder, Tint, Brow, Palette];
    }
    subjects.all = message.says(&[
        "all brands",
        "every brand",
        "all the brands",
        "each brand",
        "across brands",
        "which brand*",
        "other brands",
        "all others",
        "everything else",
        "전체 브랜드",
        "모든 브랜드",
        "브랜드 전체",
        "브랜드 모두",
        "브랜드별",
        "어떤 브랜드",
        "어느 브랜드",
        "다른 브랜드",
        "브랜드는?",
        "브랜드가 뭐",
        "브랜드는 뭐",
        "브랜드는 어디",
        "나머지",
        "all of them",
        "전 브랜드",
        "브랜드 다 ",
        "브랜드들",
        "the brands",
        "which product*",
        "어떤 제품",
        "어느 제품",
        "전체 리뷰",
        "모든 리뷰",
        "전체 제품",
        "모든 제품",
        "all reviews",
        "all the reviews",
        "every review",
        "all products",
        "whole data*",
        "전체 데이터",
        "브랜드 중",
        "브랜드 순위",
        "브랜드 랭킹",
        "rank the brands",
        "brand ranking",
        "ranking of brands",
    ]);
    subjects
}

/// Kinds of products; "팩" and "크림" must not be the end of a longer word that means something else.
fn kinds(message: &mut Message, names: Vec<(ProductType, &'static str)>) -> Vec<Mention<ProductType>> {
    let mut found = message.mentions(names);
    let lower = message.lower().to_owned();
    found.retain(|mention| {
        let word = &lower[mention.span.0..mention.span.1];
        let before = lower[..mention.span.0].chars().next_back();
        !(word == "팩" && before.is_some_and(is_hangul))
    });
    found
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// The name of a kind of product that the data set doesn't have.
pub(super) fn absent_name(at: usize, language: Language) -> &'static str {
    let (korean, english, _) = ABSENT[at];
    match language {
        Language::Korean => korean,
        Language::English => english,
    }
}
