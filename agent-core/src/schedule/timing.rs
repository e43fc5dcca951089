//! Times of a schedule: one time, or a cron expression in a time zone.

use serde::{Deserialize, Serialize};

use super::ScheduleError;

/// Maximum length of a cron expression and of the name of a time zone, in bytes.
const MAX_BYTES: usize = 128;
/// The last time of a schedule: 9000-01-01, before the end of the calendar.
const LAST: i64 = 221_845_392_000_000;

/// When a schedule starts runs.
///
/// # Examples
///
/// ```
/// use agent_core::schedule::Timing;
///
/// // At 9:00 in Seoul, from Monday to Friday.
/// let timing = Timing::cron("0 9 * * MON-FRI", "Asia/Seoul")?;
/// assert_eq!(timing.next_after(1_764_000_000_000), Some(1_764_028_800_000));
/// assert_eq!(Timing::at(5).next_after(5), None);
/// # Ok::<(), agent_core::schedule::ScheduleError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// In milliseconds since 1970.
    At(i64),
    Cron {
        expression: String,
        zone: String,
    },
}

impl Timing {
    /// Once, at a time in milliseconds since 1970.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::schedule::Timing;
    ///
    /// assert_eq!(Timing::at(4_102_444_800_000).next_after(0), Some(4_102_444_800_000));
    /// ```
    #[must_use]
    pub const fn at(at: i64) -> Self {
        Self(Kind::At(at))
    }

    /// At the times of a cron expression: minute, hour, day of month, month, day of week, with lists, ranges, steps, names
    /// of months and days, `L`, `W` and `#`. The time zone is an IANA name such as `Asia/Seoul` or `UTC`.
    ///
    /// If both the day of the month and the day of the week are restricted, either may match. A local time that a change
    /// of the clocks skips is left out on that day.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Expression`] with the reason.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::schedule::Timing;
    ///
    /// let last_day = Timing::cron("30 18 L * *", "Europe/Berlin")?;
    /// let cron = last_day.as_cron().expect("it fires repeatedly");
    /// assert_eq!((cron.expression, cron.zone), ("30 18 L * *", "Europe/Berlin"));
    /// assert!(Timing::cron("61 * * * *", "UTC").is_err());
    /// # Ok::<(), agent_core::schedule::ScheduleError>(())
    /// ```
    pub fn cron(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let fault = |reason: String| ScheduleError::Expression {
            expression: crate::util::shorten(expression, MAX_BYTES),
            zone: crate::util::shorten(zone, MAX_BYTES),
            reason,
        };
        if expression.len() > MAX_BYTES || zone.len() > MAX_BYTES {
            return Err(fault(format!("it has more than {MAX_BYTES} bytes")));
        }
        if fields.len() != 5 {
            return Err(fault(format!(
                "it has {} fields instead of 5 (minute, hour, day of month, month, day of week)",
                fields.len()
            )));
        }
        if zone.is_empty() || zone.contains(char::is_whitespace) {
            return Err(fault("the time zone must be an IANA name such as `Asia/Seoul`".to_owned()));
        }
        let (expression, zone) = (fields.join(" "), zone.to_owned());
        parse(&expression, &zone).map_err(|error| fault(error.to_string()))?;
        Ok(Self(Kind::Cron { expression, zone }))
    }

    /// Returns the first time after a time, both in milliseconds since 1970; `None` if there is none (within four years).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::schedule::Timing;
    ///
    /// assert_eq!(Timing::cron("*/5 * * * *", "UTC")?.next_after(299_999), Some(300_000));
    /// assert_eq!(Timing::cron("0 0 30 2 *", "UTC")?.next_after(0), None);
    /// # Ok::<(), agent_core::schedule::ScheduleError>(())
    /// ```
    #[must_use]
    pub fn next_after(&self, after: i64) -> Option<i64> {
        match &self.0 {
            Kind::At(at) => Some(*at).filter(|at| *at > after),
            Kind::Cron { .. } if after >= LAST => None,
            Kind::Cron { expression, zone } => {
                let after = jiff::Timestamp::from_millisecond(after).ok()?;
                let next = parse(expression, zone).ok()?.find_next(after).ok()?;
                Some(next.timestamp().as_millisecond())
            }
        }
    }

    /// Returns the cron expression of a schedule that fires repeatedly.
    #[must_use]
    pub fn as_cron(&self) -> Option<CronExpression<'_>> {
        match &self.0 {
            Kind::At(_) => None,
            Kind::Cron { expression, zone } => Some(CronExpression { expression, zone }),
        }
    }

    /// Returns the time of a schedule that fires once.
    #[must_use]
    pub const fn time(&self) -> Option<i64> {
        match self.0 {
            Kind::At(at) => Some(at),
            Kind::Cron { .. } => None,
        }
    }
}

/// A cron expression; see [`Timing::as_cron`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CronExpression<'a> {
    /// The expression.
    pub expression: &'a str,
    /// Its IANA time zone.
    pub zone: &'a str,
}

fn parse(expression: &str, zone: &str) -> Result<cronexpr::Crontab, cronexpr::Error> {
    cronexpr::parse_crontab(&format!("{expression} {zone}"))
}
