//! Which brands, products and reviews a request means.

use super::{Missing, Question, Request, Scope};
use crate::aspect::Aspect;
use crate::catalogue::{Brand, Product};
use crate::collect::Reason;
use crate::product_type::ProductType;
use crate::topics::Topic;

impl Request {
    /// Returns why reviews that a number is asked for were left out: the conditions that the number measures. The reviews left
    /// out for them and those kept are the base of a share.
    #[must_use]
    pub fn measured(&self) -> Vec<Reason> {
        if self.claim.is_some() && self.keeps_claim_only() {
            vec![Reason::OtherOpinion, Reason::OffTopic]
        } else if self.sentiment.is_some() || self.excluded.sentiment.is_some() {
            vec![Reason::OtherSentiment]
        } else if !self.topics.is_empty() {
            vec![Reason::OffTopic]
        } else if self.ratings.is_some() {
            vec![Reason::OtherRating]
        } else if !self.channels.is_empty() {
            vec![Reason::OtherChannel]
        } else {
            self.review_language.map(|_| Reason::OtherLanguage).into_iter().collect()
        }
    }

    /// Returns whether only reviews that hold the claim are kept; a question whether it holds needs the others too.
    #[must_use]
    pub fn keeps_claim_only(&self) -> bool {
        !matches!(self.question, Question::Whether | Question::Best | Question::Worst | Question::Change)
    }

    /// Returns whether the message asks to see reviews and for nothing else, so that the answer is the same for every reader.
    #[must_use]
    pub fn shows_reviews_only(&self) -> bool {
        self.listing.is_some() && self.question == Question::Overview && !self.comparison
    }

    /// Returns whether the answer is the same for every reader: a number, what the data has, or reviews word for word.
    #[must_use]
    pub fn is_same_for_every_reader(&self) -> bool {
        self.question.is_for_a_number() || self.shows_reviews_only()
    }

    /// Returns the aspects of a topic that are meant; empty for the whole topic.
    #[must_use]
    pub fn aspects_of(&self, topic: Topic) -> Vec<&'static Aspect> {
        Aspect::named(&self.aspects).into_iter().filter(|aspect| aspect.topic == topic).collect()
    }

    /// Returns whether there is something to analyse.
    #[must_use]
    pub fn has_subject(&self) -> bool {
        !self.brands.is_empty()
    }

    /// Returns whether a product is meant.
    #[must_use]
    pub fn means(&self, product: &Product) -> bool {
        // A request may name a product of one brand and the whole of another.
        let narrowed = self
            .products
            .iter()
            .any(|name| Product::find(name).is_some_and(|own| own.brand == product.brand));
        let named = self.products.iter().any(|name| name == product.english);
        let excluded = self.excluded.products.iter().any(|name| name == product.english)
            || product.is_one_of(&self.excluded.product_types);
        let kind = self.product_types.is_empty() || product.is_one_of(&self.product_types);
        !excluded && (named || (!narrowed && kind))
    }

    /// Decides what to analyse: brands named, implied by products, or with products of the kinds named.
    pub(crate) fn settle(&mut self, named: Vec<Brand>, all: bool) {
        let implied =
            self.products.iter().filter_map(|name| Product::find(name)).map(|product| product.brand);
        let mut brands: Vec<Brand> = named.into_iter().chain(implied).collect();
        let explicit = !brands.is_empty();
        let typed = !self.product_types.is_empty();
        // "롬앤 틴트" is no question for the tints of other brands.
        let elsewhere = !explicit && !all && !self.unknown.is_empty();
        if !explicit && (all || typed) && !elsewhere {
            brands = Brand::ALL.to_vec();
        }
        brands.retain(|brand| !self.excluded.brands.contains(brand));
        brands.sort_unstable();
        brands.dedup();
        self.missing.clear();
        if typed {
            let has = |brand: Brand, kinds: &[ProductType]| kinds.iter().any(|kind| kind.in_brand(brand));
            if explicit {
                self.missing = brands
                    .iter()
                    .flat_map(|brand| {
                        self.product_types.iter().map(|kind| Missing { brand: *brand, product_type: *kind })
                    })
                    .filter(|missing| !missing.product_type.in_brand(missing.brand))
                    .collect();
            }
            let products = &self.products;
            let by_name = |brand: Brand| {
                products.iter().any(|name| Product::find(name).is_some_and(|own| own.brand == brand))
            };
            brands.retain(|brand| has(*brand, &self.product_types) || by_name(*brand));
        } else if !self.absent.is_empty() && self.products.is_empty() {
            brands.clear();
        }
        self.scope = if !brands.is_empty() {
            if !explicit && !typed { Scope::All } else { Scope::Named }
        } else if !self.unknown.is_empty() || !self.absent.is_empty() || explicit || typed {
            Scope::Unknown
        } else {
            Scope::Open
        };
        self.brands = brands;
    }
}
