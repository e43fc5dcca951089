//! How the updates of one field combine: the reducers behind `#[state(..)]`, as plain functions.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, Hash},
};

use serde::{Deserialize, Serialize};

/// One field of an update whose reducer is not "replace".
///
/// In JSON a reduced value stands as itself and an overwrite as `{"$overwrite": value}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write<T> {
    /// Combine with what is there.
    Reduce(T),
    /// Bypass the reducer; once a field a superstep.
    Overwrite(T),
}

#[derive(Serialize)]
struct OverwriteRef<'a, T> {
    #[serde(rename = "$overwrite")]
    value: &'a T,
}

impl<T: Serialize> Serialize for Write<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Reduce(value) => value.serialize(serializer),
            Self::Overwrite(value) => OverwriteRef { value }.serialize(serializer),
        }
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Write<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        // An object whose only key is `$overwrite`. A map field could hold that key too: it is reserved.
        if text.starts_with('{') && text.contains("\"$overwrite\"") {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Over<T> {
                #[serde(rename = "$overwrite")]
                value: T,
            }
            if let Ok(over) = serde_json::from_str::<Over<T>>(text) {
                return Ok(Self::Overwrite(over.value));
            }
        }
        serde_json::from_str(text).map(Self::Reduce).map_err(D::Error::custom)
    }
}

/// Something with an identity inside a list, so that a later one replaces an earlier one (a message, say).
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no key, so the reducer `messages` cannot tell two of them apart",
    note = "implement `agent_core::state::Keyed`, or write `append`"
)]
pub trait Keyed {
    /// The identity. Two items with the same key are the same item.
    fn key(&self) -> &str;
}

/// A map whose entries a later update may replace.
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
    pub fn append<T>(list: &mut Vec<T>, items: Vec<T>) {
        list.extend(items);
    }

    /// `extend`: the items go into any collection (a set, a deque, a string).
    pub fn extend<C: Extend<T> + IntoIterator<Item = T>, T>(collection: &mut C, items: C) {
        collection.extend(items);
    }

    /// `add`: the sum.
    ///
    /// # Errors
    ///
    /// An integer that would overflow is refused; floats follow IEEE 754.
    pub fn add<T: Sum>(field: &str, value: &mut T, more: T) -> Result<(), ApplyError> {
        *value = value.sum(&more).ok_or_else(|| ApplyError::new(field, "the sum does not fit its type"))?;
        Ok(())
    }

    /// `max`: the larger one stays.
    pub fn max<T: PartialOrd>(value: &mut T, other: T) {
        if other > *value {
            *value = other;
        }
    }

    /// `min`: the smaller one stays.
    pub fn min<T: PartialOrd>(value: &mut T, other: T) {
        if other < *value {
            *value = other;
        }
    }

    /// `merge`: entries of the newer map win.
    pub fn merge<M: Merge>(map: &mut M, other: M) {
        map.merge(other);
    }

    /// `messages`: an item whose key is in the list replaces that one in its place; the others go to the end.
    ///
    /// Linear in the new items when none of them is known; the list is indexed only when several are added at once.
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
            fn sum(&self, more: &Self) -> Option<Self> { Some(self + more) }
        })* };
    }
    sum_floats!(f32, f64);

    impl Sum for std::time::Duration {
        fn sum(&self, more: &Self) -> Option<Self> {
            self.checked_add(*more)
        }
    }
}
