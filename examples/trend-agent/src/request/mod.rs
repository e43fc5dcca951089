//! What a message asks for, as one structure. Pure, and bounded whatever comes in.

mod answered;
mod claim;
mod fault;
mod filters;
mod follow_up;
mod gap;
mod inventory;
mod listing;
mod naming;
mod question;
mod ranking;
mod rating;
mod scope;
mod sides;
mod spelling;
mod subject;
mod unknown;
mod whether;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::audience::Audience;
use super::catalogue::Brand;
use super::message::{Message, read_part};
use super::period::{Calendar, Period};
use super::product_type::ProductType;
use super::review::{Language, newest_day, oldest_day};
use super::sentiment::Polarity;
use super::topics::Topic;

pub use self::{
    filters::{Channel, Split},
    gap::Gap,
    inventory::Inventory,
    listing::{LISTED, Listing},
    question::Question,
    ranking::{Measure, Ranked, Ranking},
    rating::Ratings,
    subject::Excluded,
};

/// At most this many characters of a message are read; the rest is left and [`Request::cut`] is set.
pub const MESSAGE_CHARS: usize = 4_000;

/// At most this many unknown names are kept, each of at most [`UNKNOWN_CHARS`] characters.
pub const UNKNOWN_NAMES: usize = 5;

/// See [`UNKNOWN_NAMES`].
pub const UNKNOWN_CHARS: usize = 40;

/// How the subject of a request was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The message names it.
    Named,
    /// The message asks for all brands.
    All,
    /// The message names none, so the user has to be asked.
    #[serde(alias = "most_reviewed")]
    Open,
    /// The message names only what the data doesn't have; there is nothing to analyse.
    Unknown,
}

/// A brand without a product of a kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The brand.
    pub brand: Brand,
    /// What it doesn't have.
    pub product_type: ProductType,
}

/// Why a model's reading of a message was not used, and the built-in one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// The model did not answer in time.
    TimedOut,
    /// The answer was not the structure that was asked for, or contradicted the message or the catalogue.
    Unusable,
}

/// A message, understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The language to answer in.
    pub language: Language,
    /// How the subject was found.
    pub scope: Scope,
    /// What to analyse, in catalogue order; empty when `scope` is [`Scope::Open`] or [`Scope::Unknown`].
    pub brands: Vec<Brand>,
    /// Only these products (English names); empty means all of the brands.
    pub products: Vec<String>,
    /// Brand-like names that the data set doesn't have, as they were written.
    pub unknown: Vec<String>,
    /// Only reviews that mention one of these; empty means all.
    pub topics: Vec<Topic>,
    /// Only reviews of these days.
    pub period: Option<Period>,
    /// The reader of the report, if the message names one.
    pub audience: Option<Audience>,
    /// Whether the message was longer than [`MESSAGE_CHARS`] and its end was not read.
    pub cut: bool,
    /// Only products of these kinds; empty means all.
    #[serde(default)]
    pub product_types: Vec<ProductType>,
    /// What the message excludes.
    #[serde(default)]
    pub excluded: Excluded,
    /// Only reviews with these ratings.
    #[serde(default)]
    pub ratings: Option<Ratings>,
    /// Only reviews of this sentiment.
    #[serde(default)]
    pub sentiment: Option<Polarity>,
    /// Only reviews in this language.
    #[serde(default)]
    pub review_language: Option<Language>,
    /// Only reviews from these kinds of shops; empty means all.
    #[serde(default)]
    pub channels: Vec<Channel>,
    /// What is asked.
    #[serde(default)]
    pub question: Question,
    /// Whether the quality asked about is a fault ("sticky"), so that more of it is worse.
    #[serde(default)]
    pub fault: bool,
    /// Whether subjects are to be compared.
    #[serde(default)]
    pub comparison: bool,
    /// The day that the period was read on, if it depends on it.
    #[serde(default)]
    pub today: Option<Date>,
    /// Brands without a product of a kind that was asked for; they are not in `brands`.
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// Kinds of products that the data set doesn't have, in the language of the answer.
    #[serde(default)]
    pub absent: Vec<String>,
    /// What the data doesn't have.
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// Words that were not understood.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// Whether the message changes the request before it.
    #[serde(default)]
    pub follows: bool,
    /// The earlier of two periods that are compared; `period` is the later one.
    #[serde(default)]
    pub against: Option<Period>,
    /// Why a model's reading of the message was not used.
    #[serde(default)]
    pub unread: Option<Unread>,
    /// Keys of the parts of `topics` that are meant; see [`Aspect`](crate::aspect::Aspect). A topic without one is meant as a whole.
    #[serde(default)]
    pub aspects: Vec<String>,
    /// The opinion on `topics` that the message states: the reviews that hold it are counted, or whether they do is asked.
    #[serde(default)]
    pub claim: Option<Polarity>,
    /// Whether the question is if any review agrees.
    #[serde(default)]
    pub anyone: bool,
    /// The superlative that is asked for.
    #[serde(default)]
    pub ranking: Option<Ranking>,
    /// What the reviews are compared by.
    #[serde(default)]
    pub split: Option<Split>,
    /// Further numbers that are asked for.
    #[serde(default)]
    pub also: Vec<Question>,
    /// Reviews to show word for word.
    #[serde(default)]
    pub listing: Option<Listing>,
    /// The parts of the data that [`Question::Inventory`] asks for.
    #[serde(default)]
    pub inventory: Vec<Inventory>,
}

impl Request {
    /// Reads a message. Never fails: what is not understood is left at its default and named in [`Request::ignored`].
    ///
    /// # Examples
    ///
    /// ```
    /// use trend_agent::{Brand, Request, request::Question};
    ///
    /// let request = Request::parse("라네즈 말고 이니스프리만, 4점 이상 리뷰가 몇 건이야?");
    /// assert_eq!(request.brands, [Brand::Innisfree]);
    /// assert_eq!(request.question, Question::Count);
    /// assert_eq!(request.ratings.map(|ratings| ratings.min), Some(4));
    /// ```
    #[must_use]
    pub fn parse(message: &str) -> Self {
        Self::parse_after(message, None)
    }

    /// Reads a message that may change the request before it ("and only the negative ones").
    ///
    /// # Examples
    ///
    /// ```
    /// use trend_agent::{Audience, Brand, Request};
    ///
    /// let first = Request::parse("라네즈 리뷰 분석해줘");
    /// let second = Request::parse_after("이번엔 마케터용으로 다시 써줘", Some(&first));
    /// assert_eq!((second.brands, second.audience), (vec![Brand::Laneige], Some(Audience::Marketers)));
    /// ```
    #[must_use]
    pub fn parse_after(message: &str, previous: Option<&Self>) -> Self {
        Self::parse_on(message, previous, newest_day())
    }

    /// Reads a message on a given day; [`Request::parse_after`] takes the day of the newest review.
    #[must_use]
    pub fn parse_on(message: &str, previous: Option<&Self>, today: Date) -> Self {
        let request = Self::read(message, previous, today, &[]);
        // "접착력", "stay on": words that only reviews use for a topic.
        let more = naming::in_words_of_reviews(&spelling::corrected(read_part(message)), &request);
        if more.is_empty() { request } else { Self::read(message, previous, today, &more) }
    }

    /// Reads a message; `more` are places of topics that it names in words of reviews.
    fn read(message: &str, previous: Option<&Self>, today: Date, more: &[naming::Place]) -> Self {
        let read = spelling::corrected(read_part(message));
        let read = read.as_ref();
        let mut text = Message::new(read);
        let subjects = subject::read(&mut text);
        let subjects = subjects.sorted();
        let (listing, days) = listing::read(&mut text);
        let beside = previous.and_then(|previous| previous.period).and_then(|period| period.neighbour(&days));
        let period = beside.or_else(|| Period::parse(&days, Calendar { today, oldest: oldest_day() }));
        for span in period.iter().flat_map(|mention| &mention.spans) {
            text.mark(*span);
        }
        let excluded_days = period
            .as_ref()
            .and_then(|mention| if mention.excluded { Some(mention.period) } else { mention.without });
        let others = period.iter().flat_map(|mention| &mention.others);
        let other_days: Vec<String> =
            others.map(|span| text.lower()[span.0..span.1].trim().to_owned()).collect();
        let period = period.filter(|mention| !mention.excluded);
        let ratings = rating::read(&mut text);
        let languages = filters::review_language(&mut text);
        let asked_language = filters::asked_language(&mut text);
        let (channels, single_shop) = filters::channels(&mut text);
        let mut gaps = gap::read(&mut text);
        if single_shop {
            gaps.push(Gap::Shops);
        }
        let masked = text.masked();
        let (topics, excluded_topics, places) = naming::topics(&mut text, more);
        let named = claim::Named { places, masked };
        let audience = audience(&mut text);
        let forms = follow_up::forms(&mut text);
        let reforms = asked_language.is_some() || !forms.is_empty();
        let follow = follow_up::read(&mut text, subjects.named(), reforms);
        let before = text.clone();
        let several = subjects.brands.len().max(subjects.products.len()) > 1;
        let mut asked = question::read(&mut text, !topics.is_empty(), several);
        let inventory = match topics.is_empty() && ratings.is_none() {
            true => inventory::read(&mut text, !subjects.types.is_empty()),
            false => Vec::new(),
        };
        let mut ranking = ranking::read(
            &mut text,
            asked.question,
            ranking::Named {
                one_brand: subjects.brands.len() == 1,
                typed: !subjects.types.is_empty(),
                rated: ratings.is_some(),
            },
        );
        if let Some(ranking) = ranking {
            asked.question = ranking.question();
            asked.also.clear();
        }
        let aspects = claim::aspects(&named, &topics);
        let claim = claim::read(&mut text, &named, &topics, asked.question, ranking.is_some());
        let mut sentiments = filters::sentiment(&mut text);
        if ranking.is_some() {
            // "The most negative reviews": the question has read the word.
            sentiments = filters::sentiment(&mut before.clone());
        }
        if claim.takes_sentiment {
            sentiments = filters::Sentiments::default();
        }
        if asked.question == Question::Overview
            && sentiments.wanted.is_some()
            && text.says(&["what", "whats", "what's", "뭐", "뭔", "무엇", "무슨", "어떤 것", "어떤 게"])
        {
            asked.question = Question::Reasons;
        }
        let split = filters::split(&mut text, asked.comparison, &channels, languages);
        if split.is_some() {
            // What is compared are the parts, not the brands.
            ranking = None;
        }
        let asks_inventory = !inventory.is_empty() && ranking.is_none() && split.is_none();
        if asks_inventory {
            asked.question = Question::Inventory;
            asked.also.clear();
        } else if sentiments.both && asked.question == Question::Count {
            // "긍정/부정 나눠서 개수": a share without a side shows all of them.
            asked.question = Question::Share;
        }
        if split.is_some() && languages.origin {
            gaps.push(Gap::Region);
        }
        let narrowed = ratings.is_some()
            || sentiments != filters::Sentiments::default()
            || languages.only.is_some()
            || !channels.is_empty()
            || !topics.is_empty();
        let asks_for_any = [
            "리뷰 있",
            "리뷰가 있",
            "리뷰는 있",
            "리뷰도 있",
            "리뷰 없",
            "리뷰가 없",
            "리뷰는 없",
            "후기 있",
            "후기가 있",
            "후기는 있",
            "후기 없",
            "후기가 없",
            "후기는 없",
            "are there any",
            "is there any",
        ];
        if asked.question == Question::Overview && narrowed && text.says(&asks_for_any) {
            // "1점 리뷰 없어?": whether there are any is answered by their number.
            asked.question = Question::Count;
        }
        // A number without a subject is one of all brands, if it is one of reviews.
        let numbers = asked.question.is_for_a_number()
            && gaps.iter().all(|gap| *gap == Gap::Shops)
            && (asks_inventory || narrowed || inventory::is_about_reviews(text.lower()));
        // The newest review of all: no brand is missing.
        let newest = listing.is_some_and(|listing| listing.newest);
        let total = asked.question == Question::Count
            && text.says(&[
                "in total",
                "in all",
                "altogether",
                "overall",
                "total",
                "총",
                "전체",
                "전부",
                "모두",
            ]);
        let of_all = ranking::is_of_all(text.lower(), asked.question, !topics.is_empty())
            || (!topics.is_empty() && ranking::asks_for_a_list(text.lower()));
        let unknown = unknown::brands(&mut text, read, &subjects.strangers, subjects.named());
        let mut ignored = unknown::ignored(&text);
        ignored.extend(other_days.into_iter().chain(forms));
        ignored.dedup();
        let language = asked_language.unwrap_or_else(|| filters::language_of(text.lower()));
        let mut request = Self {
            language,
            scope: Scope::Open,
            brands: Vec::new(),
            products: subjects.products.iter().map(|product| product.english.to_owned()).collect(),
            unknown,
            topics,
            period: period.as_ref().map(|mention| mention.period),
            audience,
            cut: read_part(message).len() < message.len(),
            product_types: subjects.types.clone(),
            excluded: Excluded {
                brands: subjects.excluded_brands.clone(),
                products: subjects
                    .excluded_products
                    .iter()
                    .map(|product| product.english.to_owned())
                    .collect(),
                product_types: subjects.excluded_types.clone(),
                topics: excluded_topics,
                sentiment: sentiments.excluded,
                period: excluded_days,
            },
            ratings,
            sentiment: sentiments.wanted,
            review_language: languages.only,
            channels,
            question: asked.question,
            fault: asked.fault,
            comparison: asked.comparison,
            today: period.as_ref().filter(|mention| mention.relative).map(|_| today),
            missing: Vec::new(),
            absent: subjects.absent.iter().map(|at| subject::absent_name(*at, language).to_owned()).collect(),
            gaps,
            ignored,
            follows: false,
            against: period.as_ref().and_then(|mention| mention.against),
            unread: None,
            aspects,
            claim: claim.side,
            anyone: claim.anyone,
            ranking,
            split,
            also: asked.also,
            listing,
            inventory: if asks_inventory { inventory } else { Vec::new() },
        };
        let mut brands = subjects.brands.clone();
        // Brands that are excluded and no others: everything else is meant, unless it changes an earlier request.
        let all = subjects.all
            || (brands.is_empty() && subjects.excludes())
            || (!subjects.named()
                && request.unknown.is_empty()
                && (ranking.is_some() || of_all || total || numbers || split.is_some() || newest))
            // "배송 불만 정리": a topic without a brand is compared between all of them.
            || (!subjects.named() && request.unknown.is_empty() && !request.topics.is_empty());
        if let Some(previous) = previous
            && follow.applies(&subjects, &request)
        {
            brands = follow.merge(&mut request, previous, brands, &subjects, asked_language);
            request.settle(brands, previous.scope == Scope::All && !subjects.named());
        } else {
            request.settle(brands, all);
        }
        // What is compared are the periods, unless there are several subjects.
        if (request.against.is_some() || request.split.is_some())
            && request.brands.len() + request.products.len() < 2
        {
            request.comparison = false;
        }
        if request.scope == Scope::All
            && !subjects.all
            && (request.against.is_some() || request.split.is_some())
        {
            request.comparison = false;
        }
        // The brands of one brand cannot be ranked.
        if let Some(ranking) = request.ranking.as_mut().filter(|_| request.brands.len() == 1) {
            ranking.of = Ranked::Products;
        }
        request
    }
}

/// The known brands, both names of each, the one of `language` first.
#[must_use]
pub fn known_brands(language: Language) -> String {
    let other = match language {
        Language::Korean => Language::English,
        Language::English => Language::Korean,
    };
    let names: Vec<String> =
        Brand::ALL.iter().map(|brand| format!("{} ({})", brand.name(language), brand.name(other))).collect();
    names.join(", ")
}

fn audience(message: &mut Message) -> Option<Audience> {
    let audience = Audience::parse(message.lower());
    for one in Audience::ALL {
        message.says(one.words());
    }
    audience
}
