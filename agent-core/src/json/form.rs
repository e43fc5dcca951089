//! JSON of typed values, with what plain JSON cannot express kept beside it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::sync::Arc;

use super::{AGAIN, Bounds, ValueError, ValueFault, marked, read, write::Check};

/// A typed value as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) json: Arc<RawValue>,
    pub(crate) form: Form,
}

/// Metadata for decoding the JSON. Stored beside it, so that no value can be mistaken for metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Form(Option<Box<Marks>>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Marks {
    /// The update has no overwrites inside its fields: a key `$overwrite` there is data. Versions before this mark
    /// wrote `{"$overwrite": value}` for an overwrite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    plain: bool,
    /// Places (JSON Pointers) of `null`s that mean a `Some`, with the number of `Some`s around the innermost
    /// `None` or unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    some: Vec<(String, u32)>,
    /// The JSON is not the value: a part that another entry holds is missing from the journal.
    #[serde(skip)]
    lost: bool,
}

/// The text that marks an overwrite in the updates of older versions.
const OVERWRITE: &str = "\"$overwrite\"";

impl Stored {
    /// Writes a value.
    ///
    /// # Errors
    ///
    /// [`ValueError`]: it breaks a bound, or JSON cannot express it.
    pub(crate) fn new<T: Serialize + ?Sized>(value: &T, bounds: Bounds) -> Result<Self, ValueError> {
        let check = Check::of_text(bounds.depth);
        let json =
            serde_json::value::to_raw_value(&check.root(value)).map_err(|error| check.fault(&error))?;
        let bytes = json.get().len();
        if bytes > bounds.bytes {
            let fault = ValueFault::TooLarge { bytes, limit: bounds.bytes };
            return Err(ValueError::new(String::new(), fault));
        }
        let some = check.into_nested();
        let form = if some.is_empty() {
            Form::default()
        } else {
            Form(Some(Box::new(Marks { some, ..Marks::default() })))
        };
        Ok(Self { json: json.into(), form })
    }

    /// The value `null`.
    pub(crate) fn null() -> Self {
        Self { json: Arc::from(RawValue::NULL.to_owned()), form: Form::default() }
    }

    /// Writes an update of a state.
    ///
    /// # Errors
    ///
    /// As [`new`](Stored::new).
    pub(crate) fn update<T: Serialize + ?Sized>(value: &T, bounds: Bounds) -> Result<Self, ValueError> {
        let mut stored = Self::new(value, bounds)?;
        if has_overwrite(stored.json.get()) {
            stored.form.0.get_or_insert_default().plain = true;
        }
        Ok(stored)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Those of `T`.
    pub(crate) fn read<T: Serialize + DeserializeOwned>(&self) -> serde_json::Result<T> {
        read_stored(self.json.get(), &self.form)
    }
}

/// Returns whether a text contains `$overwrite` as a key or a value.
pub(crate) fn has_overwrite(text: &str) -> bool {
    text.contains('$') && text.contains(OVERWRITE)
}

impl Form {
    /// Returns `true` if the JSON needs no metadata.
    pub(crate) const fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// The form of a value that is lost.
    pub(crate) fn lost() -> Self {
        Self(Some(Box::new(Marks { lost: true, ..Marks::default() })))
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.as_ref().is_some_and(|marks| marks.lost)
    }

    /// Returns whether a key `$overwrite` inside a field of an update is data.
    pub(crate) fn has_plain_fields(&self) -> bool {
        self.0.as_ref().is_some_and(|marks| marks.plain)
    }
}

/// Reads a stored value of any version.
///
/// # Errors
///
/// Those of `T`.
pub(crate) fn read_stored<T: Serialize + DeserializeOwned>(text: &str, form: &Form) -> serde_json::Result<T> {
    let Some(marks) = form.0.as_ref().filter(|marks| !marks.some.is_empty()) else { return read(text) };
    // A type may read its own `null`s (`deserialize_with`): the reading that is written the same way is the right one.
    let same = |value: &T| {
        let written = Stored::new(value, AGAIN).ok().and_then(|stored| stored.form.0);
        let sorted = |some: &[(String, u32)]| {
            let mut some = some.to_vec();
            some.sort_unstable();
            some
        };
        written.is_some_and(|written| sorted(&written.some) == sorted(&marks.some))
    };
    let marked = marked::read::<T>(text, &marks.some);
    if let Ok(value) = &marked
        && same(value)
    {
        return marked;
    }
    match read::<T>(text) {
        Ok(value) if same(&value) => Ok(value),
        plain => marked.or(plain),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde_json::{Value, json};

    use super::{super::NEW, *};

    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    struct Inner {
        deep: Option<Option<Option<u8>>>,
        unit: Option<()>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Kind {
        New(Option<Option<u8>>),
        Tuple(Option<Option<u8>>, u8),
        Named { at: Option<Option<u8>> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Named { at: Option<Option<u8>>, any: Option<Value> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(transparent)]
    struct Wrapped(Option<u8>);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Outer {
        list: Vec<Option<Option<u8>>>,
        by_number: HashMap<u32, Option<Option<u8>>>,
        by_name: BTreeMap<String, Option<Value>>,
        inner: Inner,
        kinds: Vec<Kind>,
        tagged: Tagged,
        wrapped: Option<Wrapped>,
        #[serde(flatten)]
        rest: HashMap<String, Option<Option<u8>>>,
        wide: Option<Option<u128>>,
    }

    fn nested() -> Outer {
        let options = [None, Some(None), Some(Some(1))];
        Outer {
            list: options.to_vec(),
            by_number: options.into_iter().zip(7..).map(|(value, key)| (key, value)).collect(),
            by_name: BTreeMap::from([
                ("a/b~".into(), Some(Value::Null)),
                ("b".into(), Some(json!([null, 1]))),
                ("c".into(), None),
            ]),
            inner: Inner { deep: Some(Some(None)), unit: Some(()) },
            kinds: vec![Kind::New(Some(None)), Kind::Tuple(Some(None), 1), Kind::Named { at: Some(None) }],
            tagged: Tagged::Named { at: Some(None), any: Some(Value::Null) },
            wrapped: Some(Wrapped(None)),
            rest: HashMap::from([("x".into(), Some(None)), ("y".into(), None)]),
            wide: Some(Some(u128::MAX)),
        }
    }

    #[test]
    fn nested_options_read_back_equal_at_every_place() {
        let outer = nested();
        let stored = Stored::new(&outer, NEW).unwrap();
        let copy = serde_json::to_string(&stored.form).unwrap();
        let form: Form = serde_json::from_str(&copy).unwrap();
        let back: Outer = read_stored(stored.json.get(), &form).unwrap();
        assert_eq!(back, outer);
        for value in [None, Some(None), Some(Some(2_u8))] {
            assert_eq!(Stored::new(&value, NEW).unwrap().read::<Option<Option<u8>>>().unwrap(), value);
        }
    }

    #[test]
    fn plain_values_have_no_form() {
        for value in [json!({"a": null}), json!([1, "$overwrite"]), json!("x")] {
            assert!(Stored::new(&value, NEW).unwrap().form.is_plain());
        }
        assert!(Stored::new(&Some(1), NEW).unwrap().form.is_plain());
        assert!(Stored::new(&None::<Option<u8>>, NEW).unwrap().form.is_plain());
    }

    #[test]
    fn a_type_that_reads_its_own_nulls_is_read_as_before() {
        fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<Value>>, D::Error> {
            Option::deserialize(d).map(Some)
        }
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Patch {
            #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
            field: Option<Option<Value>>,
        }
        for field in [None, Some(None), Some(Some(json!(1)))] {
            let patch = Patch { field };
            assert_eq!(Stored::new(&patch, NEW).unwrap().read::<Patch>().unwrap(), patch);
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_refused_with_its_place() {
        #[derive(Serialize)]
        struct Bad<T> {
            list: Vec<T>,
        }
        let fault = |value: &dyn Fn() -> Result<Stored, ValueError>| value().unwrap_err();
        let nan = fault(&|| Stored::new(&Bad { list: vec![1.0, f64::NAN] }, NEW));
        assert_eq!((nan.place.as_str(), nan.fault), ("/list/1", ValueFault::NotFinite));
        let infinite = fault(&|| Stored::new(&Bad { list: vec![Some(f32::INFINITY)] }, NEW));
        assert_eq!((infinite.place.as_str(), infinite.fault), ("/list/0", ValueFault::NotFinite));
        let keyed = BTreeMap::from([("$serde_json::private::RawValue", 1)]);
        let reserved = fault(&|| Stored::new(&Bad { list: vec![keyed.clone()] }, NEW));
        assert_eq!((reserved.place.as_str(), reserved.fault), ("/list/0", ValueFault::ReservedKey));
        let raw = RawValue::from_string("[".repeat(96) + &"]".repeat(96)).unwrap();
        assert!(Stored::new(&*raw, NEW).is_ok());
        let deep = fault(&|| Stored::new(&Bad { list: vec![raw.clone()] }, NEW));
        assert_eq!((deep.place.as_str(), deep.fault), ("/list/0", ValueFault::TooDeep { limit: 96 }));
        let bytes = BTreeMap::from([(vec![1_u8], 1)]);
        assert!(matches!(fault(&|| Stored::new(&bytes, NEW)).fault, ValueFault::NotJson { .. }));
    }
}
