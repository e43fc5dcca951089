//! [`Shared`]: a value that is serialized once, however many updates and states contain it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{READ_DEPTH, check::depth, write::Check};

/// The name by which the layer that writes stored values recognizes a shared one.
pub(super) const SHARED: &str = "$agent_core::Shared";

/// A value that clones share, with its JSON text.
///
/// Use it for a large value that several updates or fields contain: a document that nodes pass on, an element of a list
/// that only grows. A clone copies a pointer. The first time the value is stored, its JSON is kept beside it; each
/// further time costs a copy of this text. The text lives as long as the value and its clones.
///
/// In JSON it is the value itself, so a field can change from `T` to `Shared<T>` and back.
///
/// # Examples
///
/// ```
/// use agent_core::{State, state::Shared};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
/// struct Page { title: String, text: String }
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Research {
///     #[state(append)]
///     pages: Vec<Shared<Page>>,
///     best: Option<Shared<Page>>,
/// }
///
/// let page = Shared::new(Page { title: "Birds".into(), text: "..".into() });
/// let mut research = Research::default();
/// research.apply(Research::update().pages([page.clone()]).best(page))?;
/// assert_eq!(research.pages[0].title, "Birds");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    /// `None`: the value has no text that fits everywhere.
    text: OnceLock<Option<Arc<SharedText>>>,
}

/// The JSON text of a shared value, with what the checks of a value need of it.
pub(super) struct SharedText {
    pub(super) json: Box<str>,
    /// Places of `null`s that mean a `Some`.
    pub(super) nested: Vec<(String, u32)>,
    depth: usize,
}

impl SharedText {
    /// Returns whether the text may be written at a place with this many levels left, inside `some` options.
    pub(super) fn fits(&self, depth: usize, some: u32) -> bool {
        // A `null` inside an option is one of the marked places.
        self.depth <= depth && (some == 0 || &*self.json != "null")
    }
}

impl<T> Shared<T> {
    /// Shares a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::state::Shared;
    ///
    /// let list = Shared::new(vec![1, 2]);
    /// assert_eq!(list.len(), 2);
    /// ```
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Inner { value, text: OnceLock::new() }))
    }

    /// Returns whether both are clones of one value.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::state::Shared;
    ///
    /// let one = Shared::new(1);
    /// assert!(Shared::ptr_eq(&one, &one.clone()) && !Shared::ptr_eq(&one, &Shared::new(1)));
    /// ```
    #[must_use]
    pub fn ptr_eq(one: &Self, other: &Self) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }
}

impl<T: Clone> Shared<T> {
    /// Returns the value, a copy if there are other clones.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::state::Shared;
    ///
    /// assert_eq!(Shared::new(vec![1]).into_inner(), [1]);
    /// ```
    #[must_use]
    pub fn into_inner(self) -> T {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => inner.value,
            Err(inner) => inner.value.clone(),
        }
    }
}

thread_local! {
    /// Set while the layer asks for the text of a value, and the text that the value hands over.
    static ASKED: Cell<bool> = const { Cell::new(false) };
    static TEXT: RefCell<Option<Arc<SharedText>>> = const { RefCell::new(None) };
}

/// Asks the content of a newtype named [`SHARED`] for its text.
pub(super) fn text_of<T: Serialize + ?Sized>(content: &T) -> Option<Arc<SharedText>> {
    ASKED.set(true);
    // A serializer that takes the `()` of a content that understands, and is thrown away otherwise.
    let asked = content.serialize(serde_json::value::Serializer);
    ASKED.set(false);
    asked.ok().and_then(|_| TEXT.take())
}

/// Content of the newtype that a [`Shared`] writes.
struct Content<'a, T>(&'a Inner<T>);

impl<T: Serialize> Serialize for Content<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if ASKED.take() {
            TEXT.replace(self.0.text.get_or_init(|| write(&self.0.value).map(Arc::new)).clone());
            return serializer.serialize_unit();
        }
        self.0.value.serialize(serializer)
    }
}

fn write<T: Serialize>(value: &T) -> Option<SharedText> {
    let check = Check::of_text(READ_DEPTH);
    let json = serde_json::to_string(&check.root(value)).ok()?.into_boxed_str();
    let depth = depth(json.as_bytes());
    Some(SharedText { json, nested: check.into_nested(), depth })
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(SHARED, &Content(&self.0))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Shared<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use serde_json::json;

    use super::{
        super::{Form, MAX_DEPTH, NEW, Stored, ValueFault, read_stored},
        *,
    };

    thread_local! {
        static WRITTEN: Counter<u32> = const { Counter::new(0) };
    }

    #[derive(Debug, Clone, PartialEq, Deserialize)]
    struct Counted(String);

    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            WRITTEN.set(WRITTEN.get() + 1);
            self.0.serialize(serializer)
        }
    }

    #[test]
    fn a_shared_value_is_serialized_once_for_all_that_contain_it() {
        let value = Shared::new(Counted("a \"quoted\" text".repeat(10)));
        let list = vec![value.clone(), value.clone(), Shared::new(Counted("b".into()))];
        let before = WRITTEN.get();
        let first = Stored::new(&list, NEW).unwrap();
        let second = Stored::new(&(list.clone(), Some(value)), NEW).unwrap();
        assert_eq!(WRITTEN.get() - before, 2);
        let plain: Vec<&Counted> = list.iter().map(|shared| &**shared).collect();
        assert_eq!(first.json.get(), serde_json::to_string(&plain).unwrap());
        assert_eq!(first.json.get(), serde_json::to_string(&list).unwrap());
        assert_eq!(first.read::<Vec<Shared<Counted>>>().unwrap(), list);
        assert!(second.json.get().starts_with("[[\"a "));
        assert_eq!(serde_json::to_value(&list).unwrap(), json!(plain));
    }

    #[test]
    fn a_shared_value_keeps_the_bounds_and_marks_of_its_place() {
        type Deep = Option<Option<u8>>;
        let value: Shared<Vec<Deep>> = Shared::new(vec![None, Some(None), Some(Some(1))]);
        let outer = vec![Some(value.clone()), None, Some(value)];
        let stored = Stored::new(&outer, NEW).unwrap();
        let form: Form = serde_json::from_str(&serde_json::to_string(&stored.form).unwrap()).unwrap();
        assert_eq!(read_stored::<Vec<Option<Shared<Vec<Deep>>>>>(stored.json.get(), &form).unwrap(), outer);
        // A `null` as a whole, inside an option.
        let null: Option<Shared<Option<u8>>> = Some(Shared::new(None));
        assert_eq!(Stored::new(&null, NEW).unwrap().read::<Option<Shared<Option<u8>>>>().unwrap(), null);

        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        let deep = Shared::new(nested(MAX_DEPTH));
        assert!(Stored::new(&deep, NEW).is_ok());
        let error = Stored::new(&[deep], NEW).unwrap_err();
        assert_eq!(error.fault, ValueFault::TooDeep { limit: MAX_DEPTH });
        assert!(error.place.starts_with("/0/0/0"), "{error}");
        let nan = Stored::new(&[Shared::new([1.0, f64::NAN])], NEW).unwrap_err();
        assert_eq!((nan.place.as_str(), nan.fault), ("/0/1", ValueFault::NotFinite));
    }
}
