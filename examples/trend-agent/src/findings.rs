//! Everything found about a brand, and about all brands of a request: small enough to keep in a state.

use std::collections::HashSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::aspect::Aspect;
use super::catalogue::Brand;
use super::change::{Change, analyse_change};
use super::collect::{Collected, Dropped};
use super::request::Request;
use super::review::{Language, Review, demo_reviews};
use super::sentiment::{Sentiment, analyse_sentiment, mean, round};
use super::topics::{TopicFinding, analyse_aspects, analyse_topics};

/// One product in the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductTally {
    /// English name.
    pub product: String,
    /// How many reviews.
    pub reviews: usize,
    /// Mean rating, 1 to 5.
    pub mean_rating: f64,
    /// The topics that were asked for; empty if none were.
    #[serde(default)]
    pub topics: Vec<TopicFinding>,
}

/// What was found about one brand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrandFinding {
    /// Which brand.
    pub brand: Brand,
    /// How many reviews there are of it.
    pub considered: usize,
    /// How many were analysed.
    pub reviews: usize,
    /// How many of these are Korean.
    pub korean: usize,
    /// Days of the oldest and the newest analysed review; nothing if there are none.
    pub days: Option<(Date, Date)>,
    /// What was left out, and why.
    pub dropped: Vec<Dropped>,
    /// By product, best rated first.
    pub products: Vec<ProductTally>,
    /// What people talk about, most mentioned first.
    pub topics: Vec<TopicFinding>,
    /// How they feel.
    pub sentiment: Sentiment,
    /// What changed; nothing if there are too few reviews to say.
    pub change: Option<Change>,
}

/// A request and what was found for it; brands in the order of the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What was asked.
    pub request: Request,
    /// One entry a brand.
    pub brands: Vec<BrandFinding>,
}

impl BrandFinding {
    /// Puts together what was analysed; `topics` and `sentiment` are those of `collected.reviews`.
    #[must_use]
    pub fn new(collected: &Collected, mut topics: Vec<TopicFinding>, sentiment: Sentiment) -> Self {
        let reviews = &collected.reviews;
        let mut products: Vec<ProductTally> = Vec::new();
        for review in reviews {
            if !products.iter().any(|tally| tally.product == review.product) {
                let own: Vec<Review> =
                    reviews.iter().filter(|other| other.product == review.product).cloned().collect();
                let mut topics = if collected.topics.is_empty() { Vec::new() } else { analyse_topics(&own) };
                topics.retain(|finding| collected.topics.contains(&finding.topic));
                narrow(&mut topics, collected, &own);
                products.push(ProductTally {
                    product: review.product.clone(),
                    reviews: own.len(),
                    mean_rating: round(mean(own.iter().map(|review| f64::from(review.rating)))),
                    topics,
                });
            }
        }
        products
            .sort_by(|a, b| b.mean_rating.total_cmp(&a.mean_rating).then_with(|| a.product.cmp(&b.product)));
        narrow(&mut topics, collected, reviews);
        let days = reviews.iter().map(|review| review.date);
        Self {
            brand: collected.brand,
            considered: collected.considered,
            reviews: reviews.len(),
            korean: reviews.iter().filter(|review| review.lang == Language::Korean).count(),
            days: days.clone().min().zip(days.max()),
            dropped: collected.dropped.clone(),
            products,
            topics,
            sentiment,
            change: analyse_change(reviews),
        }
    }

    /// Analyses what was collected, in one go.
    #[must_use]
    pub fn of(collected: &Collected) -> Self {
        Self::new(collected, analyse_topics(&collected.reviews), analyse_sentiment(&collected.reviews))
    }
}

/// Puts the figures of the requested aspects in the place of those of their topics.
fn narrow(topics: &mut Vec<TopicFinding>, collected: &Collected, reviews: &[Review]) {
    let aspects = Aspect::named(&collected.aspects);
    topics.retain_mut(|finding| {
        let own: Vec<&Aspect> =
            aspects.iter().copied().filter(|aspect| aspect.topic == finding.topic).collect();
        if own.is_empty() {
            return true;
        }
        let narrowed = analyse_aspects(finding.topic, &own, reviews);
        let found = narrowed.is_some();
        if let Some(narrowed) = narrowed {
            *finding = narrowed;
        }
        found
    });
}

impl Findings {
    /// Puts the brands into the order of the request, whatever order they were finished in.
    #[must_use]
    pub fn new(request: Request, mut brands: Vec<BrandFinding>) -> Self {
        brands.sort_by_key(|finding| {
            request.brands.iter().position(|brand| *brand == finding.brand).unwrap_or(usize::MAX)
        });
        if request.against.is_some() {
            // The two periods are compared, not the halves of what was collected.
            brands.iter_mut().for_each(|finding| finding.change = None);
        }
        Self { request, brands }
    }

    /// Returns the reviews of all brands, in the order of the data.
    ///
    /// # Examples
    ///
    /// ```
    /// use trend_agent::{findings::Findings, request::Request};
    ///
    /// let findings = Findings::of(&Request::parse("Analyse the COSRX reviews"));
    /// assert_eq!(findings.source_reviews().len(), findings.brands[0].reviews);
    /// ```
    #[must_use]
    pub fn source_reviews(&self) -> Vec<&'static Review> {
        let of_brands = self.brands.iter().flat_map(|finding| &finding.sentiment.reviews);
        let ids: HashSet<&str> = of_brands.map(|review| review.review.as_str()).collect();
        demo_reviews().iter().filter(|review| ids.contains(review.id.as_str())).collect()
    }

    /// Collects and analyses every brand of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let brands = request
            .brands
            .iter()
            .map(|brand| BrandFinding::of(&super::collect::collect(request, *brand)))
            .collect();
        Self::new(request.clone(), brands)
    }

    /// How many reviews were analysed in all.
    #[must_use]
    pub fn reviews(&self) -> usize {
        self.brands.iter().map(|brand| brand.reviews).sum()
    }
}
