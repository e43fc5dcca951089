//! The request as a model reads it: the same structure, as JSON, validated against the message and the data.
//!
//! Pure. A model gives limits and subjects, never figures.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audience::Audience;
use super::catalogue::{Brand, Product};
use super::period::Period;
use super::plan::{ANSWER_BYTES, PlannedTodo, parse_plan};
use super::product_type::ProductType;
use super::request::{Channel, Question, Ratings, Request, Scope};
use super::review::{Language, newest_day};
use super::sentiment::Polarity;
use super::topics::Topic;

/// The most violations that a model gets to read.
const FAULTS: usize = 6;

/// What a model extracts from a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Extraction {
    /// Brands to analyse.
    pub brands: Vec<Brand>,
    /// Brands that the message excludes.
    pub excluded_brands: Vec<Brand>,
    /// English names of products.
    pub products: Vec<String>,
    /// Kinds of products.
    pub product_types: Vec<ProductType>,
    /// Only reviews that speak about these topics.
    pub topics: Vec<Topic>,
    /// First day, YYYY-MM-DD.
    pub from: Option<String>,
    /// Last day, YYYY-MM-DD.
    pub to: Option<String>,
    /// Lowest rating, 1 to 5.
    pub min_rating: Option<u8>,
    /// Highest rating, 1 to 5.
    pub max_rating: Option<u8>,
    /// Only reviews of this sentiment.
    pub sentiment: Option<Polarity>,
    /// Only reviews in this language.
    pub review_language: Option<Language>,
    /// Only reviews from these kinds of shops.
    pub channels: Vec<Channel>,
    /// The reader of the report.
    pub audience: Option<Audience>,
    /// Whether subjects are to be compared.
    pub comparison: bool,
    /// What is asked.
    pub question: Option<Question>,
}

/// What a model answered: its reading of the message, and its list of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The request; the fault if it could not be used.
    pub request: Result<Request, String>,
    /// The steps; empty if there are none.
    pub steps: Vec<PlannedTodo>,
}

/// Returns the JSON Schema of [`Extraction`].
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(Extraction).to_value()
}

/// Reads a model's answer. `offline` is what the built-in reader understood; the result is the same request with what the
/// model extracted.
///
/// The fault says what is wrong in words that a model can repair: no JSON object, a field of another type, a name that the
/// catalogue doesn't have, a rating outside 1 to 5, days in the wrong order, or a brand that the message names and the
/// model leaves out.
#[must_use]
pub fn read_answer(answer: &str, offline: &Request) -> Reading {
    let Some(whole) = object(answer) else {
        let fault = "the answer has no JSON object with the field `request`".to_owned();
        return Reading { request: Err(fault), steps: parse_plan(answer).unwrap_or_default() };
    };
    let request = serde_json::from_value::<Extraction>(whole["request"].clone())
        .map_err(|fault| format!("`request`: {fault}"))
        .and_then(|extraction| extraction.apply(offline));
    let steps = parse_plan(&whole["steps"].to_string()).unwrap_or_default();
    Reading { request, steps }
}

/// The object with the field `request`, wherever in the answer it is.
fn object(answer: &str) -> Option<Value> {
    if answer.len() > ANSWER_BYTES {
        return None;
    }
    answer.match_indices('{').take(32).find_map(|(at, _)| {
        let value = serde_json::Deserializer::from_str(&answer[at..]).into_iter::<Value>().next()?.ok()?;
        Some(value).filter(|value| value["request"].is_object())
    })
}

impl Extraction {
    /// Puts the extraction over what the built-in reader understood.
    ///
    /// # Errors
    ///
    /// The violations, in one text.
    pub fn apply(&self, offline: &Request) -> Result<Request, String> {
        let mut faults = self.faults(offline);
        let period = match self.period() {
            Ok(period) => period,
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        if !faults.is_empty() {
            faults.truncate(FAULTS);
            return Err(faults.join("; "));
        }
        let mut request = offline.clone();
        // What the message names word for word stays; a model adds what it doesn't name so.
        if offline.scope == Scope::Open {
            request.products.clone_from(&self.products);
            request.product_types.clone_from(&self.product_types);
            request.excluded.brands.clone_from(&self.excluded_brands);
            request.settle(self.brands.clone(), false);
        }
        if let Some(period) = period.filter(|_| offline.period.is_none()) {
            request.period = Some(period);
            request.today = Some(newest_day());
        }
        if request.topics.is_empty() {
            request.topics.clone_from(&self.topics);
        }
        if request.ratings.is_none() && (self.min_rating.is_some() || self.max_rating.is_some()) {
            request.ratings =
                Some(Ratings { min: self.min_rating.unwrap_or(1), max: self.max_rating.unwrap_or(5) });
        }
        request.sentiment = request.sentiment.or(self.sentiment);
        request.review_language = request.review_language.or(self.review_language);
        if request.channels.is_empty() {
            request.channels.clone_from(&self.channels);
        }
        request.audience = request.audience.or(self.audience);
        request.comparison |= self.comparison;
        if request.question == Question::Overview {
            request.question = self.question.unwrap_or_default();
        }
        // The model has read the whole sentence, so nothing is left over.
        if request != *offline {
            request.ignored.clear();
        }
        Ok(request)
    }

    fn faults(&self, offline: &Request) -> Vec<String> {
        let mut faults = Vec::new();
        for name in &self.products {
            if Product::find(name).is_none() {
                faults.push(format!(
                    "`products`: the catalogue has no product `{}`",
                    crate::text::head(name, 60)
                ));
            }
        }
        for brand in &offline.brands {
            let kept =
                self.brands.contains(brand) || !self.products.is_empty() || !self.product_types.is_empty();
            if offline.scope == Scope::Named && !kept && !offline.follows {
                faults.push(format!("`brands`: the message names {}", brand.slug()));
            }
        }
        for brand in &offline.excluded.brands {
            if self.brands.contains(brand) {
                faults.push(format!("`brands`: the message excludes {}", brand.slug()));
            }
        }
        for (name, rating) in [("min_rating", self.min_rating), ("max_rating", self.max_rating)] {
            if rating.is_some_and(|rating| !(1..=5).contains(&rating)) {
                faults.push(format!("`{name}`: a rating is 1 to 5"));
            }
        }
        if self.min_rating.zip(self.max_rating).is_some_and(|(min, max)| min > max) {
            faults.push("`min_rating` is above `max_rating`".to_owned());
        }
        faults
    }

    fn period(&self) -> Result<Option<Period>, String> {
        let day = |name: &str, text: &Option<String>| match text.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => {
                text.parse::<Date>().map(Some).map_err(|_| format!("`{name}`: give a date as YYYY-MM-DD"))
            }
        };
        let (from, to) = (day("from", &self.from)?, day("to", &self.to)?);
        if from.is_none() && to.is_none() {
            return Ok(None);
        }
        let from = from.unwrap_or_else(super::review::oldest_day);
        let to = to.unwrap_or_else(newest_day);
        if from > to { Err("`from` is after `to`".to_owned()) } else { Ok(Some(Period { from, to })) }
    }
}
