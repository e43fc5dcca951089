//! [`EventValue`]: a JSON value inside an event, written once and parsed only on request.

use std::{any::Any, fmt, ops::Deref, sync::Arc};

use once_cell::sync::OnceCell;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, ser::Error as _};
use serde_json::{Value, value::RawValue};

use super::{AGAIN, Stored, read};

/// A JSON value inside an event. Cheap to clone.
///
/// It holds what its writer had: the text of the journal, a tree, or the typed value of the same process. The other
/// forms are made on first use, once for all subscribers:
///
/// | call | cost |
/// |---|---|
/// | `Serialize`, [`text`](EventValue::text) | a copy of the text; a typed value is serialized on first use |
/// | [`read`](EventValue::read) | parses the text, every time |
/// | `Deref` to [`Value`] (`value["field"]`) | parses the text on first use |
/// | [`downcast_ref`](EventValue::downcast_ref) | free; `None` unless the value is typed |
///
/// # Examples
///
/// ```
/// use agent_core::event::EventValue;
/// use serde_json::json;
///
/// let value = EventValue::from(json!({ "n": [1, 2] }));
/// assert_eq!(value["n"][1], 2);
/// assert_eq!(value.text(), r#"{"n":[1,2]}"#);
/// ```
#[derive(Clone, Default)]
pub struct EventValue(Option<Arc<Forms>>);

#[derive(Default)]
struct Forms {
    // Unlike those of the standard library, these cells are created with a value at no cost.
    text: OnceCell<Arc<RawValue>>,
    value: OnceCell<Value>,
    typed: Option<Box<dyn Typed>>,
}

/// A typed value that can be written as JSON.
trait Typed: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn to_text(&self) -> Option<Arc<RawValue>>;
}

impl<T: Serialize + Send + Sync + 'static> Typed for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn to_text(&self) -> Option<Arc<RawValue>> {
        // Runs user code in the task of a subscriber: its panic is the subscriber's.
        Some(Stored::new(self, AGAIN).ok()?.json)
    }
}

static NULL: Value = Value::Null;

impl EventValue {
    /// The value of a JSON text.
    pub(crate) fn raw(text: &Arc<RawValue>) -> Self {
        Self(Some(Arc::new(Forms { text: OnceCell::with_value(Arc::clone(text)), ..Forms::default() })))
    }

    /// A typed value, with its JSON text if there is one already.
    pub(crate) fn typed<T: Serialize + Send + Sync + 'static>(
        value: T,
        text: Option<&Arc<RawValue>>,
    ) -> Self {
        let text = text.map_or_else(OnceCell::new, |text| OnceCell::with_value(Arc::clone(text)));
        Self(Some(Arc::new(Forms { text, value: OnceCell::new(), typed: Some(Box::new(value)) })))
    }

    /// Returns the typed value: an update, if the filter of a subscription asked for
    /// [typed updates](crate::event::UpdateForm::Typed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// # use agent_core::event::{EventBody, EventFilter, EventKind, UpdateForm};
    /// let filter = EventFilter::none().with(EventKind::NodeFinished).updates(UpdateForm::Typed);
    /// let mut events = session.run(&graph, Count::update()).stream_of(filter).await?;
    /// while let Some(event) = events.next().await {
    ///     if let EventBody::NodeFinished(finished) = &event?.body {
    ///         assert!(finished.update.downcast_ref::<CountUpdate>().is_some());
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn downcast_ref<T: 'static>(&self) -> Option<&T> {
        self.0.as_ref()?.typed.as_ref()?.as_any().downcast_ref()
    }

    /// Returns the JSON text. A value that JSON cannot express is `null`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::EventValue;
    /// use serde_json::json;
    ///
    /// assert_eq!(EventValue::from(json!({ "n": 1 })).text(), r#"{"n":1}"#);
    /// ```
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.as_ref().map_or("null", |forms| forms.text().get())
    }

    /// Parses the value as a `T`.
    ///
    /// # Errors
    ///
    /// Those of `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::EventValue;
    /// use serde_json::json;
    ///
    /// let numbers: Vec<u64> = EventValue::from(json!([1, 2])).read()?;
    /// assert_eq!(numbers, [1, 2]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        match self.0.as_ref().and_then(|forms| forms.value.get()) {
            Some(value) => T::deserialize(value),
            None => read(self.text()),
        }
    }
}

impl Forms {
    fn text(&self) -> &RawValue {
        self.text.get_or_init(|| {
            let typed = || self.typed.as_ref()?.to_text();
            let tree = || serde_json::value::to_raw_value(self.value.get()?).ok().map(Arc::from);
            tree().or_else(typed).unwrap_or_else(|| Arc::from(RawValue::NULL.to_owned()))
        })
    }
}

impl Deref for EventValue {
    type Target = Value;

    fn deref(&self) -> &Value {
        let Some(forms) = &self.0 else { return &NULL };
        forms.value.get_or_init(|| read(forms.text().get()).unwrap_or_default())
    }
}

impl From<Value> for EventValue {
    fn from(value: Value) -> Self {
        if value.is_null() {
            return Self::default();
        }
        let (text, value) = (OnceCell::new(), OnceCell::with_value(value));
        Self(Some(Arc::new(Forms { text, value, typed: None })))
    }
}

impl PartialEq for EventValue {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same || **self == **other
    }
}

impl PartialEq<Value> for EventValue {
    fn eq(&self, other: &Value) -> bool {
        **self == *other
    }
}

impl Serialize for EventValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(forms) = &self.0 else { return serializer.serialize_unit() };
        match (forms.text.get(), forms.value.get()) {
            (None, Some(value)) => value.serialize(serializer),
            _ => forms.text().serialize(serializer).map_err(S::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for EventValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl schemars::JsonSchema for EventValue {
    fn inline_schema() -> bool {
        Value::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        Value::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        Value::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Value::json_schema(generator)
    }
}

impl fmt::Display for EventValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for EventValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_is_the_same_value() {
        let tree = json!({"a": "x", "b": [1, null]});
        let text: Arc<RawValue> = Arc::from(RawValue::from_string(tree.to_string()).unwrap());
        let typed = std::collections::BTreeMap::from([("b", json!([1, null])), ("a", json!("x"))]);
        for value in [
            EventValue::raw(&text),
            EventValue::typed(typed, None),
            EventValue::from(tree.clone()),
            serde_json::from_str(text.get()).unwrap(),
        ] {
            assert_eq!(value, tree);
            assert_eq!(value.text(), text.get());
            assert_eq!(serde_json::to_string(&value).unwrap(), text.get());
            assert_eq!(serde_json::to_value(&value).unwrap(), tree);
            assert_eq!(value.read::<Value>().unwrap(), tree);
        }
    }

    #[test]
    fn a_typed_value_is_written_only_on_request() {
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("no"))
            }
        }
        let value = EventValue::typed(Unwritable, None);
        assert!(value.downcast_ref::<Unwritable>().is_some());
        assert!(value.downcast_ref::<String>().is_none());
        assert!(value.is_null(), "what JSON cannot express is null");
        assert_eq!(EventValue::default().text(), "null");
    }
}
