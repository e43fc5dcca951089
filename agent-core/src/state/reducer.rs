//! Reducers of `#[state(..)]` as plain functions: they combine the updates of one field.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json;

/// One field of an update with a reducer other than "replace".
///
/// `#[derive(State)]` writes the value of a field as it is, and the names of the overwritten fields beside the
/// fields, so no value is read as an overwrite. In an update type written by hand, a reduced value is written as it is
/// and an overwrite as `{"$overwrite": value}`; a reduced value that is itself such an object, or
/// `{"$reduce": value}`, is written as `{"$reduce": value}`.
///
/// # Examples
///
/// ```
/// use agent_core::State;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Log { #[state(append)] lines: Vec<String> }
///
/// let mut log = Log::default();
/// log.apply(Log::update().lines(["one", "two"]))?;
/// // Bypasses the reducer.
/// log.apply(Log::update().overwrite_lines(vec!["three".to_owned()]))?;
/// assert_eq!(log.lines, ["three"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write<T> {
    /// Combine with what is there.
    Reduce(T),
    /// Bypass the reducer; once a field a superstep.
    Overwrite(T),
}

/// The one key of an object.
enum Sole {
    Overwrite,
    Reduce,
}

impl Sole {
    /// The mark that a text looks like.
    fn of(text: &str) -> Option<(Self, &RawValue)> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        enum Object<'a> {
            #[serde(rename = "$overwrite", borrow)]
            Overwrite(&'a RawValue),
            #[serde(rename = "$reduce", borrow)]
            Reduce(&'a RawValue),
        }
        if !text.starts_with('{') || !(text.contains("\"$overwrite\"") || text.contains("\"$reduce\"")) {
            return None;
        }
        match serde_json::from_str(text).ok()? {
            Object::Overwrite(value) => Some((Self::Overwrite, value)),
            Object::Reduce(value) => Some((Self::Reduce, value)),
        }
    }
}

#[derive(Serialize)]
enum Marked<'a, T> {
    #[serde(rename = "$overwrite")]
    Overwrite(&'a T),
    #[serde(rename = "$reduce")]
    Reduce(&'a T),
}

impl<T: Serialize> Serialize for Write<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        match self {
            Self::Overwrite(value) => Marked::Overwrite(value).serialize(serializer),
            Self::Reduce(value) => {
                let text = serde_json::to_string(value).map_err(S::Error::custom)?;
                match Sole::of(&text) {
                    Some(_) => Marked::Reduce(value).serialize(serializer),
                    None => value.serialize(serializer),
                }
            }
        }
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Write<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        // An object with another value under such a key is data of a version that did not mark its own.
        let marked = match Sole::of(text) {
            Some((Sole::Overwrite, value)) => json::read(value.get()).ok().map(Self::Overwrite),
            Some((Sole::Reduce, value)) => json::read(value.get()).ok().map(Self::Reduce),
            None => None,
        };
        match marked {
            Some(write) => Ok(write),
            None => json::read(text).map(Self::Reduce).map_err(D::Error::custom),
        }
    }
}

/// Something with an identity inside a list, so that a later one replaces an earlier one (a message, say).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no key, so the reducer `messages` cannot distinguish two of them",
    note = "implement `agent_core::state::Keyed`, or write `append`"
)]
pub trait Keyed {
    /// The identity. Two items with the same key are the same item.
    fn key(&self) -> &str;
}

/// A map; later updates replace entries by key.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use agent_core::State;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Prices { #[state(merge)] by_sku: BTreeMap<String, u32> }
///
/// let mut prices = Prices::default();
/// prices.apply(Prices::update().by_sku(BTreeMap::from([("a".to_owned(), 1)])))?;
/// prices.apply(Prices::update().by_sku(BTreeMap::from([("b".to_owned(), 2)])))?;
/// assert_eq!(prices.by_sku.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the reducer `merge` does not know how to merge two `{Self}`",
    note = "it knows maps; implement `agent_core::state::Merge`, or write `extend` for other collections"
)]
pub trait Merge {
    /// Takes every entry of `other`; its values win.
    fn merge(&mut self, other: Self);
}

impl<K: Eq + Hash, V, B: BuildHasher> Merge for HashMap<K, V, B> {
    fn merge(&mut self, other: Self) {
        self.extend(other);
    }
}

impl<K: Ord, V> Merge for BTreeMap<K, V> {
    fn merge(&mut self, other: Self) {
        self.extend(other);
    }
}

impl Merge for serde_json::Map<String, serde_json::Value> {
    fn merge(&mut self, other: Self) {
        self.extend(other);
    }
}

/// The reducers, by the name they have in `#[state(..)]`.
pub mod reduce {
    use std::collections::HashMap;

    use super::{Keyed, Merge};
    use crate::state::ApplyError;

    /// `append`: the new items go to the end of the list.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut list = vec![1];
    /// agent_core::state::reduce::append(&mut list, vec![2, 3]);
    /// assert_eq!(list, [1, 2, 3]);
    /// ```
    pub fn append<T>(list: &mut Vec<T>, items: Vec<T>) {
        list.extend(items);
    }

    /// `extend`: the items are inserted into a collection, such as a set or a deque.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeSet;
    ///
    /// let mut tags = BTreeSet::from(["a"]);
    /// agent_core::state::reduce::extend(&mut tags, BTreeSet::from(["a", "b"]));
    /// assert_eq!(tags.len(), 2);
    /// ```
    pub fn extend<C: Extend<T> + IntoIterator<Item = T>, T>(collection: &mut C, items: C) {
        collection.extend(items);
    }

    /// `add`: the sum.
    ///
    /// # Errors
    ///
    /// A sum that does not fit is refused: an integer that overflows, a float that is NaN or infinite (which JSON
    /// cannot express, so the state could not be stored).
    ///
    /// # Examples
    ///
    /// ```
    /// let mut count = 250_u8;
    /// agent_core::state::reduce::add("count", &mut count, 5)?;
    /// assert_eq!(count, 255);
    /// assert!(agent_core::state::reduce::add("count", &mut count, 1).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add<T: Sum>(field: &str, value: &mut T, more: T) -> Result<(), ApplyError> {
        *value = value.sum(&more).ok_or_else(|| ApplyError::new(field, "the sum does not fit its type"))?;
        Ok(())
    }

    /// `max`: the larger one stays.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut best = 3;
    /// agent_core::state::reduce::max(&mut best, 7);
    /// assert_eq!(best, 7);
    /// ```
    pub fn max<T: PartialOrd>(value: &mut T, other: T) {
        if other > *value {
            *value = other;
        }
    }

    /// `min`: the smaller one stays.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut lowest = 3;
    /// agent_core::state::reduce::min(&mut lowest, 7);
    /// assert_eq!(lowest, 3);
    /// ```
    pub fn min<T: PartialOrd>(value: &mut T, other: T) {
        if other < *value {
            *value = other;
        }
    }

    /// `merge`: entries of the newer map win.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let mut map = BTreeMap::from([("a", 1), ("b", 2)]);
    /// agent_core::state::reduce::merge(&mut map, BTreeMap::from([("b", 3)]));
    /// assert_eq!(map["b"], 3);
    /// ```
    pub fn merge<M: Merge>(map: &mut M, other: M) {
        map.merge(other);
    }

    /// `messages`: an item with a known key replaces the item with this key in place; others are appended.
    ///
    /// Linear in the new items when none of them is known; the list is indexed only when several are added at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::state::Keyed;
    ///
    /// struct Note(&'static str, u32);
    ///
    /// impl Keyed for Note {
    ///     fn key(&self) -> &str { self.0 }
    /// }
    ///
    /// let mut list = vec![Note("a", 1), Note("b", 2)];
    /// agent_core::state::reduce::messages(&mut list, vec![Note("a", 3)]);
    /// assert_eq!((list.len(), list[0].1), (2, 3));
    /// ```
    pub fn messages<T: Keyed>(list: &mut Vec<T>, items: Vec<T>) {
        // One or two new items are the rule, and a known one is nearly always near the end.
        if items.len() <= 8 {
            for item in items {
                match list.iter().rposition(|known| known.key() == item.key()) {
                    Some(at) => list[at] = item,
                    None => list.push(item),
                }
            }
            return;
        }
        let mut places: HashMap<String, usize> =
            list.iter().enumerate().map(|(at, known)| (known.key().to_owned(), at)).collect();
        for item in items {
            match places.get(item.key()) {
                Some(&at) => list[at] = item,
                None => {
                    places.insert(item.key().to_owned(), list.len());
                    list.push(item);
                }
            }
        }
    }

    /// A number that can be added without silent overflow.
    #[diagnostic::on_unimplemented(
        message = "the reducer `add` cannot add two `{Self}`",
        note = "it adds integers, floats and durations; implement `agent_core::state::reduce::Sum`, or name a \
                function with `reduce = path`"
    )]
    pub trait Sum: Sized {
        /// The sum, or `None` where it does not fit.
        fn sum(&self, more: &Self) -> Option<Self>;
    }

    macro_rules! sum_integers {
        ($($int:ty),*) => { $(impl Sum for $int {
            fn sum(&self, more: &Self) -> Option<Self> { self.checked_add(*more) }
        })* };
    }
    sum_integers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

    macro_rules! sum_floats {
        ($($float:ty),*) => { $(impl Sum for $float {
            fn sum(&self, more: &Self) -> Option<Self> { Some(self + more).filter(|sum| sum.is_finite()) }
        })* };
    }
    sum_floats!(f32, f64);

    impl Sum for std::time::Duration {
        fn sum(&self, more: &Self) -> Option<Self> {
            self.checked_add(*more)
        }
    }
}
