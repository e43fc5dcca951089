//! Date and time tool. Uses only a clock and the time zone database.

use std::fmt;

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use jiff::{
    Span, SpanRound, Timestamp, ToSpan, Unit, Zoned,
    civil::{self, Weekday},
    tz::TimeZone,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tool that returns the time, converts time zones, adds durations and computes differences.
///
/// # Examples
///
/// ```
/// use agent_core::tool::ToolRegistry;
/// use agent_tools::DateTime;
///
/// let tools = ToolRegistry::builder().tool(DateTime::default()).build()?;
/// assert_eq!(tools.names().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DateTime {
    zone: TimeZone,
    now: fn() -> Timestamp,
}

/// Arguments of [`DateTime`].
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DateTimeArgs {
    /// A date or time to begin with, for example `2026-11-21`, `2026-11-21T09:30`, `2026-11-21T00:30:00Z`. Now when
    /// left out.
    pub from: Option<String>,
    /// Time zone of the answer as an IANA name, for example `Asia/Seoul`, and of times without a zone.
    pub timezone: Option<String>,
    /// A duration to add, for example `P1M`, `3 days`, `-2h 30m`, `1 year 2 weeks`.
    pub add: Option<String>,
    /// A second date or time: the answer includes the time until then.
    pub until: Option<String>,
}

/// Result of [`DateTime`].
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// With offset and zone (RFC 9557).
    pub time: String,
    /// In English.
    pub weekday: &'static str,
    /// ISO 8601 week, `2026-W47`.
    pub week: String,
    /// Day of the year, from 1.
    pub day_of_year: i16,
    /// Seconds since 1970 in UTC.
    pub unix: i64,
    /// Difference to the second time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Difference>,
}

/// A difference between two times. Negative if the second time is earlier.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Calendar units, ISO 8601.
    pub calendar: String,
    /// Whole calendar days.
    pub whole_days: i32,
    /// Total in seconds.
    pub seconds: i64,
}

impl DateTime {
    /// Creates the tool with `zone`, an IANA name, as the default time zone.
    ///
    /// # Errors
    ///
    /// The zone is unknown.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::DateTime;
    ///
    /// let tools = ToolRegistry::builder().tool(DateTime::in_zone("Asia/Seoul")?).build()?;
    /// assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_zone(zone: &str) -> Result<Self, jiff::Error> {
        Ok(Self { zone: TimeZone::get(zone)?, ..Self::default() })
    }

    /// Sets the clock. Default: the machine's clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_tools::DateTime;
    ///
    /// let new_year = DateTime::default().with_clock(|| "2026-01-01T00:00:00Z".parse().expect("a timestamp"));
    /// # drop(new_year);
    /// ```
    #[must_use]
    pub fn with_clock(mut self, now: fn() -> Timestamp) -> Self {
        self.now = now;
        self
    }

    fn answer(&self, args: &DateTimeArgs) -> Result<Moment, ToolError> {
        let zone = match &args.timezone {
            None => self.zone.clone(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                ToolError::failed("unknown time zone; give an IANA name such as `Asia/Seoul` or `UTC`")
            })?,
        };
        let mut from = match &args.from {
            None => (self.now)().to_zoned(zone.clone()),
            Some(text) => parse(text, &zone)?,
        };
        if let Some(text) = &args.add {
            let span: Span = bounded(text)?.parse().map_err(|_| {
                ToolError::failed("cannot read the duration to add; write it like `P1M` or `3 days 2h`")
            })?;
            from = from.checked_add(span).map_err(|_| ToolError::failed("the result is out of range"))?;
        }
        let until = match &args.until {
            None => None,
            Some(text) => Some(difference(&from, &parse(text, &zone)?)?),
        };
        let week = from.date().iso_week_date();
        Ok(Moment {
            weekday: weekday(from.weekday()),
            week: format!("{}-W{:02}", week.year(), week.week()),
            day_of_year: from.day_of_year(),
            unix: from.timestamp().as_second(),
            time: from.to_string(),
            until,
        })
    }
}

impl Default for DateTime {
    /// Uses UTC.
    fn default() -> Self {
        Self { zone: TimeZone::UTC, now: Timestamp::now }
    }
}

impl fmt::Debug for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DateTime").field("zone", &self.zone.iana_name()).finish_non_exhaustive()
    }
}

impl Tool for DateTime {
    type Args = DateTimeArgs;
    type Output = Moment;

    fn name(&self) -> &str {
        "date_time"
    }

    fn description(&self) -> &str {
        "Returns the current date and time, the weekday of a date, the time in another time zone, a date some time \
         before or after another, and how long it is between two."
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only()
    }

    async fn call(&self, args: DateTimeArgs, _: &ToolContext) -> Result<Moment, ToolError> {
        self.answer(&args)
    }
}

fn bounded(text: &str) -> Result<&str, ToolError> {
    if text.len() <= 100 {
        Ok(text.trim())
    } else {
        Err(ToolError::failed("a time has at most 100 characters"))
    }
}

/// Parses a time with a zone, with an offset, or in `zone`.
fn parse(text: &str, zone: &TimeZone) -> Result<Zoned, ToolError> {
    let text = bounded(text)?;
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(zoned.with_time_zone(zone.clone()));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.to_zoned(zone.clone()));
    }
    let local = text.parse::<civil::DateTime>().ok().and_then(|local| local.to_zoned(zone.clone()).ok());
    local.ok_or_else(|| {
        ToolError::failed(
            "cannot read the time; write it like `2026-11-21`, `2026-11-21T09:30` or with `Z` or `+09:00`",
        )
    })
}

fn difference(from: &Zoned, until: &Zoned) -> Result<Difference, ToolError> {
    let fault = |_| ToolError::failed("the two times are too far apart");
    let calendar = from.until((Unit::Year, until)).map_err(fault)?;
    let days = from.until((Unit::Day, until)).map_err(fault)?;
    let days = days.round(SpanRound::new().smallest(Unit::Day).mode(jiff::RoundMode::Trunc).relative(from));
    let seconds = until.timestamp().as_second() - from.timestamp().as_second();
    let whole_days = days.unwrap_or_else(|_| 0.days()).get_days();
    Ok(Difference { calendar: calendar.to_string(), whole_days, seconds })
}

const fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}
