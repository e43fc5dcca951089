//! The answer to the question for a subject, which may name conditions too.

use super::{Question, Request, Scope};

impl Request {
    /// Reads the answer to the question for a subject: its subject, and what else it names, take the place of what the message
    /// said. Returns nothing if it names no subject.
    ///
    /// # Examples
    ///
    /// ```
    /// use trend_agent::{Brand, Request};
    ///
    /// let open = Request::parse("부정 리뷰만 정리해줘");
    /// let answered = open.with_subject("라네즈, 5월 이후").expect("it names a brand");
    /// assert_eq!((answered.brands, answered.period.is_some()), (vec![Brand::Laneige], true));
    /// assert_eq!(answered.sentiment, open.sentiment);
    /// ```
    #[must_use]
    pub fn with_subject(&self, answer: &str) -> Option<Self> {
        let other = Self::parse(answer);
        if !matches!(other.scope, Scope::Named | Scope::All) {
            return None;
        }
        let mut request = self.clone();
        request.excluded.brands = other.excluded.brands;
        request.excluded.products = other.excluded.products;
        request.excluded.product_types = other.excluded.product_types;
        if !other.excluded.topics.is_empty() {
            request.excluded.topics = other.excluded.topics;
        }
        request.excluded.sentiment = other.excluded.sentiment.or(request.excluded.sentiment);
        request.excluded.period = other.excluded.period.or(request.excluded.period);
        request.products = other.products;
        request.product_types = other.product_types;
        request.missing = other.missing;
        request.absent = other.absent;
        if !other.topics.is_empty() {
            request.topics = other.topics;
            (request.aspects, request.claim, request.fault) = (other.aspects, other.claim, other.fault);
        }
        if other.period.is_some() {
            (request.period, request.against, request.today) = (other.period, other.against, other.today);
        }
        request.ratings = other.ratings.or(request.ratings);
        request.sentiment = other.sentiment.or(request.sentiment);
        request.review_language = other.review_language.or(request.review_language);
        if !other.channels.is_empty() {
            request.channels = other.channels;
        }
        request.audience = other.audience.or(request.audience);
        request.listing = other.listing.or(request.listing);
        request.comparison |= other.comparison;
        if other.question != Question::Overview {
            request.question = other.question;
            (request.ranking, request.also, request.split) = (other.ranking, other.also, other.split);
            (request.inventory, request.anyone) = (other.inventory, other.anyone);
        }
        for gap in other.gaps {
            if !request.gaps.contains(&gap) {
                request.gaps.push(gap);
            }
        }
        request.ignored.extend(other.ignored);
        request.unknown = other.unknown;
        request.settle(other.brands, other.scope == Scope::All);
        Some(request)
    }
}
