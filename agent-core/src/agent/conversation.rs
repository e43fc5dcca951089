//! View of a conversation for a model: repaired, cut to a window, with the beginning replaced by a summary.
//!
//! Pure. The state keeps every message; only the view is shortened.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{
    Message, Messages, Role,
    tokens::{CountTokens, Estimate},
};

/// Result of a call without a result, as the model reads it. An agent closes its calls when its run is stopped or fails;
/// this is for older journals and for states from other sources.
const MISSING: &str =
    "Error: the call was cancelled or cut short, and its result is not known; it may have happened or not";

/// Returns the conversation with further messages at its end.
pub(super) fn with(messages: &Messages, more: &[Message]) -> Messages {
    messages.iter().map(|message| Message::clone(message)).chain(more.iter().cloned()).collect()
}

/// Returns the history in a form that every provider accepts: each tool call has exactly one result directly behind it
/// (a missing result is reported as unknown), and each result has its call. A valid history is returned unchanged and
/// shares its messages; only messages that were not checked before are checked.
///
/// # Examples
///
/// ```
/// use agent_core::{agent::conversation::valid, model::{Message, Messages, ToolCall}};
///
/// let call = ToolCall::new("weather", &serde_json::json!({}));
/// let messages: Messages = [Message::user("hi"), Message::assistant("").with_tool_calls([call])].into();
/// // The call without a result gets one that says that it is not known.
/// assert_eq!(valid(&messages).len(), 3);
/// ```
#[must_use]
pub fn valid(messages: &Messages) -> Messages {
    // The validated prefix stays valid, so each turn inspects only the new messages.
    if is_valid(&messages[messages.sound()..]) {
        messages.is_sound();
        return messages.clone();
    }
    let mut out: Vec<Arc<Message>> = Vec::with_capacity(messages.len() + 1);
    let mut at = 0;
    while let Some(message) = messages.get(at) {
        at += 1;
        if message.role == Role::Tool {
            continue;
        }
        out.push(Arc::clone(message));
        if message.tool_calls.is_empty() {
            continue;
        }
        // A late result may follow later messages.
        let turn_end = messages[at..]
            .iter()
            .position(|later| later.role == Role::Assistant)
            .map_or(messages.len(), |offset| at + offset);
        for call in &message.tool_calls {
            let result = messages[at..turn_end]
                .iter()
                .rfind(|later| later.role == Role::Tool && later.tool_call_id.as_ref() == Some(&call.id));
            out.push(result.map_or_else(
                || {
                    let id = format!("{}.{}", message.id, call.id);
                    let closed = Message::tool_result(&call.id, MISSING).with_name(&call.name).with_id(id);
                    Arc::new(closed)
                },
                Arc::clone,
            ));
        }
    }
    out.into_iter().collect()
}

fn is_valid(messages: &[Arc<Message>]) -> bool {
    let mut at = 0;
    while let Some(message) = messages.get(at) {
        at += 1;
        if message.role == Role::Tool {
            return false;
        }
        let calls = &message.tool_calls;
        if calls.is_empty() {
            continue;
        }
        let Some(results) = messages.get(at..at + calls.len()) else { return false };
        let answers = |call: &str| {
            results
                .iter()
                .filter(|result| result.role == Role::Tool && result.tool_call_id.as_deref() == Some(call))
                .count()
                == 1
        };
        if !calls.iter().all(|call| answers(&call.id)) {
            return false;
        }
        at += calls.len();
    }
    true
}

/// Window of the latest messages that a model reads.
///
/// A tool call is never separated from its results. System messages stay. The latest user message stays even if it
/// is older than the window, because the agent works on it, and the window begins with a user message.
#[derive(Clone)]
pub struct Window {
    messages: usize,
    tokens: u64,
    counter: Arc<dyn CountTokens>,
}

impl Window {
    /// Limits the number of messages.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{agent::conversation::Window, model::{Message, Messages}};
    ///
    /// let messages: Messages = ["one", "two", "three"].map(Message::user).into();
    /// assert_eq!(Window::messages(2).view(&messages).len(), 2);
    /// ```
    #[must_use]
    pub fn messages(limit: usize) -> Self {
        Self { messages: limit, tokens: u64::MAX, counter: Arc::new(Estimate) }
    }

    /// Limits the number of tokens, counted by [`Estimate`] unless [`counter`](Self::counter) sets another counter.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{agent::conversation::Window, model::{Message, Messages}};
    ///
    /// let messages: Messages = [Message::user("a long text ".repeat(100)), Message::user("short")].into();
    /// assert_eq!(Window::tokens(50).view(&messages).len(), 1);
    /// ```
    #[must_use]
    pub fn tokens(limit: u64) -> Self {
        Self { messages: usize::MAX, tokens: limit, counter: Arc::new(Estimate) }
    }

    /// Also limits the number of messages.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::agent::conversation::Window;
    ///
    /// let window = Window::tokens(8_000).and_messages(100);
    /// # drop(window);
    /// ```
    #[must_use]
    pub const fn and_messages(mut self, limit: usize) -> Self {
        self.messages = limit;
        self
    }

    /// Sets the token counter. Default: [`Estimate`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{agent::conversation::Window, model::tokens::Estimate};
    ///
    /// let window = Window::tokens(8_000).counter(Estimate);
    /// # drop(window);
    /// ```
    #[must_use]
    pub fn counter(mut self, counter: impl CountTokens) -> Self {
        self.counter = Arc::new(counter);
        self
    }

    /// Returns the part of a [valid] history that fits. At least the last message stays, together with its calls or
    /// results. The cost depends on the size of the window, not of the history.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{agent::conversation::Window, model::{Message, Messages}};
    /// let history = Messages::from([Message::user("hi"), Message::assistant("hello"), Message::user("bye")]);
    /// let shown = Window::messages(1).view(&history);
    /// assert_eq!(shown.iter().map(|message| message.text()).collect::<Vec<_>>(), ["bye"]);
    /// ```
    #[must_use]
    pub fn view(&self, messages: &Messages) -> Messages {
        let cut = self.cut(messages);
        if cut == 0 { messages.clone() } else { from(messages, cut) }
    }

    /// Returns the index of the first message that stays; 0 if all fit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{agent::conversation::Window, model::{Message, Messages}};
    /// let history = Messages::from([Message::user("hi"), Message::assistant("hello"), Message::user("bye")]);
    /// assert_eq!(Window::messages(1).cut(&history), 2);
    /// assert_eq!(Window::messages(10).cut(&history), 0);
    /// ```
    #[must_use]
    pub fn cut(&self, messages: &[Arc<Message>]) -> usize {
        let (mut cut, mut count, mut tokens) = (messages.len(), 0_usize, 0_u64);
        while cut > 0 {
            let begin = block(messages, cut);
            count += cut - begin;
            if self.tokens != u64::MAX {
                tokens +=
                    messages[begin..cut].iter().map(|message| self.counter.message(message)).sum::<u64>();
            }
            if cut < messages.len() && (count > self.messages || tokens > self.tokens) {
                break;
            }
            cut = begin;
        }
        if cut == 0 {
            return 0;
        }
        let user = messages[cut..].iter().position(|message| message.role == Role::User);
        user.map_or(cut, |offset| cut + offset)
    }
}

/// Returns the messages from `cut` on, after the messages that always stay.
fn from(messages: &Messages, cut: usize) -> Messages {
    let (before, after) = messages.split_at(cut);
    let asked = if after.iter().any(|message| message.role == Role::User) {
        None
    } else {
        before.iter().rposition(|message| message.role == Role::User)
    };
    let kept = before.iter().enumerate();
    let kept = kept.filter(|(at, message)| message.role == Role::System || Some(*at) == asked);
    kept.map(|(_, message)| Arc::clone(message)).chain(after.iter().map(Arc::clone)).collect()
}

/// Returns where the block that ends before `end` begins: a call with its results, or one message.
fn block(messages: &[Arc<Message>], end: usize) -> usize {
    let mut begin = end - 1;
    while begin > 0 && messages[begin].role == Role::Tool {
        begin -= 1;
    }
    begin
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("messages", &self.messages)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// Summary of the beginning of a conversation. Plain data, part of a session's state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Text of the summary.
    pub text: String,
    /// Id of the last message that the text covers.
    pub upto: String,
}

impl Summary {
    /// Creates a summary of everything up to and including the message `upto`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{agent::conversation::Summary, model::{Message, Messages}};
    /// let history = Messages::from([Message::user("hi").with_id("m1"), Message::user("bye").with_id("m2")]);
    /// let summary = Summary::new("They greeted each other.", "m1");
    /// assert_eq!(summary.view(&history).len(), 2); // the summary, and "bye"
    /// ```
    #[must_use]
    pub fn new(text: impl Into<String>, upto: impl Into<String>) -> Self {
        Self { text: text.into(), upto: upto.into() }
    }

    /// Replaces the beginning of a valid history by this summary. Returns the history unchanged if it does not
    /// contain the message `upto`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{agent::conversation::Summary, model::{Message, Messages}};
    /// let history = Messages::from([Message::user("hi").with_id("m1"), Message::user("bye").with_id("m2")]);
    /// let shown = Summary::new("They greeted each other.", "m1").view(&history);
    /// assert!(shown[0].text().contains("They greeted each other."));
    /// assert_eq!(shown[1].text(), "bye");
    /// ```
    #[must_use]
    pub fn view(&self, messages: &Messages) -> Messages {
        let Some(at) = messages.iter().rposition(|message| message.id == self.upto) else {
            return messages.clone();
        };
        let rest = from(messages, at + 1);
        let systems = rest.iter().take_while(|message| message.role == Role::System).count();
        let words = format!("Summary of the conversation so far:\n{}", self.text);
        let summary = Message::user(words).with_id(format!("summary.{}", self.upto));
        let mut view = rest;
        view.make_mut().insert(systems, Arc::new(summary));
        view
    }
}

/// Messages that no longer fit and have to be summarized; see [`overflow`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Overflow {
    /// The messages, starting with the earlier summary.
    pub messages: Messages,
    /// The id of the last of them.
    pub upto: String,
}

/// Returns the messages that no longer fit and have to be summarized.
///
/// # Examples
///
/// ```
/// # use agent_core::{agent::conversation::Window, model::{Message, Messages}};
/// let history = Messages::from([Message::user("hi").with_id("m1"), Message::user("bye").with_id("m2")]);
/// let window = Window::messages(1);
/// let old = agent_core::agent::conversation::overflow(&history, None, &window).ok_or("all fit")?;
/// assert_eq!((old.messages.len(), old.upto.as_str()), (1, "m1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn overflow(messages: &Messages, summary: Option<&Summary>, window: &Window) -> Option<Overflow> {
    let begin = summary
        .and_then(|summary| messages.iter().rposition(|message| message.id == summary.upto))
        .map_or(0, |at| at + 1);
    let fresh = &messages[begin..];
    if window.cut(fresh) == 0 {
        return None;
    }
    // Keeps half a window, so that a summary is not necessary at each turn.
    let half = Window {
        messages: window.messages.div_ceil(2),
        tokens: window.tokens.div_ceil(2),
        counter: Arc::clone(&window.counter),
    };
    let cut = half.cut(fresh);
    let last = fresh.get(cut.checked_sub(1)?)?.id.clone();
    let old = summary.map(|summary| Arc::new(Message::user(format!("Earlier summary:\n{}", summary.text))));
    let messages = old.into_iter().chain(fresh[..cut].iter().map(Arc::clone)).collect();
    Some(Overflow { messages, upto: last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ToolCall;

    fn call(id: &str) -> ToolCall {
        ToolCall { id: id.into(), name: "t".into(), arguments: "{}".into(), provider: None }
    }

    fn shape(messages: &Messages) -> String {
        let letter = |message: &Arc<Message>| match message.role {
            Role::System => "S".to_owned(),
            Role::User => "U".to_owned(),
            Role::Assistant => "A".to_owned(),
            Role::Tool => message.tool_call_id.clone().unwrap_or_default(),
        };
        messages.iter().map(letter).collect::<Vec<_>>().join(" ")
    }

    fn rounds() -> Messages {
        let mut messages = Messages::from([Message::system("s"), Message::user("u")]);
        for id in ["a", "b", "c"] {
            messages.push(Message::assistant("").with_tool_calls([call(id)]));
            messages.push(Message::tool_result(id, "r"));
        }
        messages
    }

    #[test]
    fn every_call_gets_its_result_behind_it_and_no_result_stands_alone() {
        let broken = Messages::from([
            Message::tool_result("ghost", "x"),
            Message::user("u"),
            Message::assistant("").with_tool_calls([call("a"), call("b")]),
            Message::tool_result("b", "late"),
            Message::user("on"),
            Message::assistant("done"),
        ]);
        let mended = valid(&broken);
        assert_eq!(shape(&mended), "U A a b U A");
        assert!(mended[2].text().contains("cancelled"), "{}", mended[2].text());
        assert!(is_valid(&mended));
        assert_eq!(valid(&mended), mended);
    }

    #[test]
    fn a_window_parts_no_call_from_its_result_and_keeps_what_was_asked() {
        for limit in 1..9 {
            let view = Window::messages(limit).view(&rounds());
            assert!(is_valid(&view), "{limit}: {}", shape(&view));
            assert!(shape(&view).starts_with("S U"), "{limit}: {}", shape(&view));
        }
        assert_eq!(shape(&Window::messages(3).view(&rounds())), "S U A c");
        assert_eq!(shape(&Window::tokens(1).view(&rounds())), "S U A c");
    }

    #[test]
    fn a_summary_stands_for_what_it_sums_up() {
        let messages = rounds();
        let old = overflow(&messages, None, &Window::messages(5)).unwrap();
        assert_eq!(shape(&old.messages), "S U A a A b");
        let summary = Summary::new("요약", old.upto);
        assert_eq!(shape(&summary.view(&messages)), "S U U A c");
        assert!(overflow(&messages, Some(&summary), &Window::messages(5)).is_none());
    }
}
