//! The request as a model reads it: the same structure, as JSON, validated against the message and the data.
//!
//! Pure. A model gives limits and subjects, never figures.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::aspect::Aspect;
use super::audience::Audience;
use super::catalogue::{Brand, PRODUCTS, Product};
use super::period::Period;
use super::plan::{ANSWER_BYTES, PlannedTodo, parse_plan};
use super::product_type::ProductType;
use super::request::{
    Channel, Excluded, Gap, Inventory, LISTED, Listing, Question, Ranked, Ranking, Ratings, Request, Scope,
    Split, UNKNOWN_CHARS, UNKNOWN_NAMES,
};
use super::review::{Language, newest_day};
use super::sentiment::Polarity;
use super::topics::Topic;

/// The most violations that a model gets to read.
const FAULTS: usize = 6;

/// What a model extracts from a message: the fields of a [`Request`] that a message can state, with the same types.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Extraction {
    /// Brands to analyse.
    pub brands: Vec<Brand>,
    /// Whether the message asks for all brands.
    pub all_brands: bool,
    /// Names of brands that the catalogue does not have, as the message writes them.
    pub unknown_brands: Vec<String>,
    /// English names of products.
    pub products: Vec<String>,
    /// Kinds of products.
    pub product_types: Vec<ProductType>,
    /// What the message excludes ("not", "말고", "빼고").
    pub excluded: Excluded,
    /// Only reviews that speak about these topics.
    pub topics: Vec<Topic>,
    /// The parts of these topics that are meant; a topic without one is meant as a whole.
    pub aspects: Vec<String>,
    /// The opinion on `topics` that the message states ("does anyone say it stings": negative).
    pub claim: Option<Polarity>,
    /// Whether the message asks if any review agrees with `claim`.
    pub anyone: bool,
    /// Whether the quality that is asked about is a fault, so that more of it is worse.
    pub fault: bool,
    /// First day, YYYY-MM-DD.
    pub from: Option<String>,
    /// Last day, YYYY-MM-DD.
    pub to: Option<String>,
    /// The earlier period, if two are compared; `from` and `to` are the later one.
    pub against: Option<Period>,
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
    /// What the reviews of the subject are compared by.
    pub split: Option<Split>,
    /// What is asked.
    pub question: Option<Question>,
    /// Further numbers that are asked for.
    pub also: Vec<Question>,
    /// The superlative that is asked for ("which brand has the most negative reviews").
    pub ranking: Option<Ranking>,
    /// Reviews to show word for word.
    pub listing: Option<Listing>,
    /// The parts of the data that the question `inventory` asks for.
    pub inventory: Vec<Inventory>,
    /// What the message asks for and the data does not have.
    pub gaps: Vec<Gap>,
    /// Words of the message that no other field expresses, as they are written.
    pub not_understood: Vec<String>,
}

/// What a model answered: its reading of the message, and its list of steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The request; the fault if it could not be used.
    pub request: Result<Request, String>,
    /// The steps; empty if there are none.
    pub steps: Vec<PlannedTodo>,
}

/// Returns the JSON Schema of [`Extraction`], with the names that the catalogue has.
///
/// # Examples
///
/// ```
/// use trend_agent::extraction::schema;
///
/// assert!(schema()["properties"]["aspects"]["items"]["enum"].as_array().is_some_and(|keys| keys.len() > 20));
/// ```
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Extraction).to_value();
    let products: Vec<&str> = PRODUCTS.iter().map(|product| product.english).collect();
    let aspects: Vec<&str> = Aspect::all().iter().map(Aspect::key).collect();
    for (name, values) in [("products", products), ("aspects", aspects)] {
        if let Some(items) = schema.pointer_mut(&format!("/properties/{name}/items")) {
            *items = serde_json::json!({ "type": "string", "enum": values });
        }
    }
    schema
}

/// Reads a model's answer. `offline` is what the built-in reader understood; the result is the same request with what the
/// model extracted.
///
/// The fault says what is wrong in words that a model can repair: no JSON object, a field of another type, a name that the
/// catalogue doesn't have, a rating outside 1 to 5, days in the wrong order, or a brand that the message names and the
/// model leaves out. Names and words that `message` does not have are left out.
#[must_use]
pub fn read_answer(answer: &str, message: &str, offline: &Request) -> Reading {
    let Some(whole) = object(answer) else {
        let fault = "the answer has no JSON object with the field `request`".to_owned();
        return Reading { request: Err(fault), steps: parse_plan(answer).unwrap_or_default() };
    };
    let request = serde_json::from_value::<Extraction>(whole["request"].clone())
        .map_err(|fault| format!("`request`: {fault}"))
        .and_then(|extraction| extraction.found_in(message).apply(offline));
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
    /// Returns what a request says, as a model would extract it.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let day = |day: Option<Date>| day.map(|day| day.to_string());
        Self {
            brands: if request.scope == Scope::All { Vec::new() } else { request.brands.clone() },
            all_brands: request.scope == Scope::All,
            unknown_brands: request.unknown.clone(),
            products: request.products.clone(),
            product_types: request.product_types.clone(),
            excluded: request.excluded.clone(),
            topics: request.topics.clone(),
            aspects: request.aspects.clone(),
            claim: request.claim,
            anyone: request.anyone,
            fault: request.fault,
            from: day(request.period.map(|period| period.from)),
            to: day(request.period.map(|period| period.to)),
            against: request.against,
            min_rating: request.ratings.map(|ratings| ratings.min),
            max_rating: request.ratings.map(|ratings| ratings.max),
            sentiment: request.sentiment,
            review_language: request.review_language,
            channels: request.channels.clone(),
            audience: request.audience,
            comparison: request.comparison,
            split: request.split,
            question: Some(request.question),
            also: request.also.clone(),
            ranking: request.ranking,
            listing: request.listing,
            inventory: request.inventory.clone(),
            gaps: request.gaps.clone(),
            not_understood: request.ignored.clone(),
        }
    }

    /// Leaves out names and words that the message does not have.
    fn found_in(mut self, message: &str) -> Self {
        let lower = message.to_lowercase();
        let has = |name: &String| {
            let name = name.trim().to_lowercase();
            !name.is_empty() && name.chars().count() <= UNKNOWN_CHARS && lower.contains(&name)
        };
        let known = |name: &String| Brand::from_name(name).is_some();
        self.unknown_brands.retain(|name| has(name) && !known(name));
        self.unknown_brands.truncate(UNKNOWN_NAMES);
        self.not_understood.retain(has);
        self
    }

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
        if self.against.is_some_and(|against| period.is_none_or(|later| against.to >= later.from)) {
            faults.push("`against`: give the later period as `from` and `to`".to_owned());
        }
        if !faults.is_empty() {
            faults.truncate(FAULTS);
            return Err(faults.join("; "));
        }
        let mut request = offline.clone();
        // What the message names word for word stays; a model adds what it doesn't name so.
        self.add_limits(&mut request, period);
        self.add_opinions(&mut request);
        self.add_question(&mut request);
        if offline.scope == Scope::Open {
            request.products.clone_from(&self.products);
            request.product_types.clone_from(&self.product_types);
            request.excluded.brands.clone_from(&self.excluded.brands);
            request.unknown.clone_from(&self.unknown_brands);
            let whole = request.question == Question::Inventory && self.brands.is_empty();
            request.settle(self.brands.clone(), self.all_brands || whole);
        }
        if let Some(ranking) = request.ranking.as_mut().filter(|_| request.brands.len() == 1) {
            ranking.of = Ranked::Products;
        }
        // A model that understood more has read the whole sentence; what it names is left over.
        if request != *offline {
            let left = |word: &String| self.not_understood.iter().any(|own| own.to_lowercase() == **word);
            request.ignored.retain(left);
        }
        Ok(request)
    }

    /// Which reviews are meant.
    fn add_limits(&self, request: &mut Request, period: Option<Period>) {
        if let Some(period) = period.filter(|_| request.period.is_none()) {
            (request.period, request.against) = (Some(period), self.against);
            request.today = Some(newest_day());
        }
        if request.ratings.is_none() && (self.min_rating.is_some() || self.max_rating.is_some()) {
            request.ratings =
                Some(Ratings { min: self.min_rating.unwrap_or(1), max: self.max_rating.unwrap_or(5) });
        }
        request.sentiment = request.sentiment.or(self.sentiment);
        request.review_language = request.review_language.or(self.review_language);
        fill(&mut request.channels, &self.channels);
        let (own, excluded) = (&mut request.excluded, &self.excluded);
        fill(&mut own.products, &excluded.products);
        fill(&mut own.product_types, &excluded.product_types);
        fill(&mut own.topics, &excluded.topics);
        own.sentiment = own.sentiment.or(excluded.sentiment).filter(|_| request.sentiment.is_none());
        own.period = own.period.or(excluded.period);
        own.product_types.retain(|kind| !request.product_types.contains(kind));
    }

    /// What is said about topics.
    fn add_opinions(&self, request: &mut Request) {
        fill(&mut request.topics, &self.topics);
        request.topics.retain(|topic| !request.excluded.topics.contains(topic));
        let wanted = |key: &&String| {
            let aspects = Aspect::named(std::slice::from_ref(*key));
            aspects.iter().any(|aspect| request.topics.contains(&aspect.topic))
        };
        let aspects: Vec<String> = self.aspects.iter().filter(wanted).cloned().collect();
        fill(&mut request.aspects, &aspects);
        if !request.topics.is_empty() {
            request.claim = request.claim.or(self.claim);
            request.anyone |= self.anyone;
        }
        request.fault |= self.fault;
    }

    /// What is asked.
    fn add_question(&self, request: &mut Request) {
        request.audience = request.audience.or(self.audience);
        request.comparison |= self.comparison;
        request.listing = request.listing.or(self.listing);
        for gap in &self.gaps {
            if !request.gaps.contains(gap) {
                request.gaps.push(*gap);
            }
        }
        if request.question != Question::Overview {
            return;
        }
        request.question = self.question.unwrap_or_default();
        request.split = request.split.or(self.split);
        if let Some(ranking) = self.ranking.filter(|_| request.split.is_none()) {
            request.ranking = Some(ranking);
            request.question = ranking.question();
        }
        if request.question == Question::Inventory {
            request.inventory.clone_from(&self.inventory);
        }
        if request.question.is_for_a_number() {
            let own = request.question;
            let numbers = self.also.iter().copied().filter(|also| also.is_for_a_number() && *also != own);
            request.also = numbers.collect();
        }
    }

    fn faults(&self, offline: &Request) -> Vec<String> {
        let mut faults = Vec::new();
        for (field, names) in [("products", &self.products), ("excluded.products", &self.excluded.products)] {
            for name in names.iter().filter(|name| Product::find(name).is_none()) {
                let name = crate::text::head(name, 60);
                faults.push(format!("`{field}`: the catalogue has no product `{name}`"));
            }
        }
        for key in self.aspects.iter().filter(|key| Aspect::named(std::slice::from_ref(*key)).is_empty()) {
            faults.push(format!("`aspects`: there is no `{}`", crate::text::head(key, 60)));
        }
        for brand in &offline.brands {
            let kept = self.all_brands
                || self.brands.contains(brand)
                || !self.products.is_empty()
                || !self.product_types.is_empty();
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
        let periods = [("against", self.against), ("excluded.period", self.excluded.period)];
        for (name, period) in periods {
            if period.is_some_and(|period| period.from > period.to) {
                faults.push(format!("`{name}`: `from` is after `to`"));
            }
        }
        if self.claim == Some(Polarity::Neutral) {
            faults.push("`claim` is `positive` or `negative`".to_owned());
        }
        if self.listing.is_some_and(|listing| !(1..=LISTED).contains(&listing.count)) {
            faults.push(format!("`listing.count` is 1 to {LISTED}"));
        }
        if self.question == Some(Question::Inventory) && self.inventory.is_empty() {
            faults.push("`inventory`: name what is asked for".to_owned());
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

/// Takes a list of the model where the built-in reader has none.
fn fill<T: Clone>(own: &mut Vec<T>, other: &[T]) {
    if own.is_empty() {
        own.extend_from_slice(other);
    }
}
