//! Serializer that refuses what could not be read back: a thin layer over serde_json's.
//!
//! serde_json writes NaN as `null`, reads JSON only up to a depth, and gives `Some(None)` and `None` one text. This
//! layer passes everything through and looks at four things: floats, depth, the keys of maps, and `null`s that mean
//! for a `Some`. Places are kept as a list on the stack, so nothing is allocated unless there is a fault.

use std::{cell::RefCell, fmt::Display};

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::{
    ValueError, ValueFault,
    fragment::{RAW, escaped, has_no_escapes, key_text, write_parts},
    shared::{self, SHARED},
};

/// Beginning of the keys that serde_json reads as something else than a key.
pub(super) const RESERVED: &str = "$serde_json::private::";

/// Texts of at least this length are scanned before they are written.
const SCANNED: usize = 64;

/// One check of one value.
pub(super) struct Check {
    depth: usize,
    /// serde_json writes text, not a tree.
    text: bool,
    fault: RefCell<Option<ValueError>>,
    nested: RefCell<Vec<(String, u32)>>,
}

impl Check {
    /// The check of a value that becomes a tree.
    pub(super) const fn new(depth: usize) -> Self {
        Self { depth, text: false, fault: RefCell::new(None), nested: RefCell::new(Vec::new()) }
    }

    /// The check of a value that becomes text. Long strings without escapes and texts of
    /// [`Shared`](crate::state::Shared) values are then copied as a whole.
    pub(super) const fn of_text(depth: usize) -> Self {
        Self { depth, text: true, fault: RefCell::new(None), nested: RefCell::new(Vec::new()) }
    }

    /// The value, to be handed to serde_json.
    pub(super) const fn root<'a, T: ?Sized>(&'a self, value: &'a T) -> Checked<'a, T> {
        Checked { value, at: At { check: self, path: &Path::Root, depth: 0, some: 0, part: Part::Value } }
    }

    /// The reason why serde_json failed.
    pub(super) fn fault(&self, error: &serde_json::Error) -> ValueError {
        let other = || ValueError::new(String::new(), ValueFault::NotJson { reason: error.to_string() });
        self.fault.take().unwrap_or_else(other)
    }

    /// The places of `null`s that mean `Some(…None)`, with the number of `Some`s.
    pub(super) fn into_nested(self) -> Vec<(String, u32)> {
        self.nested.into_inner()
    }
}

/// A value with its place.
pub(super) struct Checked<'a, T: ?Sized> {
    value: &'a T,
    at: At<'a>,
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Layer { inner, at: self.at })
    }
}

/// Place in the value.
#[derive(Clone, Copy)]
struct At<'a> {
    check: &'a Check,
    path: &'a Path<'a>,
    depth: usize,
    /// Number of `Some`s directly around this value.
    some: u32,
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    /// The key of a map.
    Key,
    /// A text of JSON.
    Raw,
}

#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
    Key(&'a Path<'a>, &'a dyn Fn() -> String),
}

impl Path<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(up, name) => format!("{}/{}", up.pointer(), escaped(name)),
            Self::Index(up, at) => format!("{}/{at}", up.pointer()),
            Self::Key(up, key) => format!("{}/{}", up.pointer(), escaped(&key())),
        }
    }
}

impl<'a> At<'a> {
    #[cold]
    fn refuse<E: ser::Error>(&self, fault: ValueFault) -> E {
        let error = ValueError::new(self.path.pointer(), fault);
        let text = E::custom(&error);
        self.check.fault.replace(Some(error));
        text
    }

    #[cold]
    fn refuse_depth<E: ser::Error>(&self) -> E {
        self.refuse(ValueFault::TooDeep { limit: self.check.depth })
    }

    /// Inside `levels` more arrays or objects.
    #[inline]
    fn inside<E: ser::Error>(self, levels: usize) -> Result<Self, E> {
        let depth = self.depth + levels;
        if depth > self.check.depth {
            return Err(self.refuse_depth());
        }
        Ok(Self { depth, some: 0, part: Part::Value, ..self })
    }

    #[inline]
    fn null(&self) {
        if self.some > 0 {
            self.check.nested.borrow_mut().push((self.path.pointer(), self.some));
        }
    }

    #[inline]
    fn text<E: ser::Error>(&self, text: &str) -> Result<(), E> {
        match self.part {
            Part::Value => Ok(()),
            Part::Key if text.starts_with(RESERVED) => Err(self.refuse(ValueFault::ReservedKey)),
            Part::Key => Ok(()),
            Part::Raw if self.depth + super::depth(text.as_bytes()) > self.check.depth => {
                Err(self.refuse_depth())
            }
            Part::Raw => Ok(()),
        }
    }
}

struct Layer<'a, S> {
    inner: S,
    at: At<'a>,
}

macro_rules! pass {
    ($($method:ident: $ty:ty),*) => {$(
        #[inline]
        fn $method(self, value: $ty) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

impl<S: Serializer> Layer<'_, S> {
    /// Writes a [`Shared`](crate::state::Shared) value: its text, or, if that breaks a bound, the value, to find the place.
    fn shared<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        match shared::text_of(value) {
            Some(text) if text.fits(self.at.check.depth.saturating_sub(self.at.depth), self.at.some) => {
                let up = if text.nested.is_empty() { String::new() } else { self.at.path.pointer() };
                let nested = text.nested.iter().map(|(place, some)| (format!("{up}{place}"), *some));
                self.at.check.nested.borrow_mut().extend(nested);
                write_parts(self.inner, &[&text.json])
            }
            _ => value.serialize(self),
        }
    }
}

impl<'a, S: Serializer> Serializer for Layer<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'a, S::SerializeSeq>;
    type SerializeTuple = Compound<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'a, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'a, S::SerializeMap>;
    type SerializeStruct = Compound<'a, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'a, S::SerializeStructVariant>;

    pass! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_bytes: &[u8]
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return Err(self.at.refuse(ValueFault::NotFinite));
        }
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if !value.is_finite() {
            return Err(self.at.refuse(ValueFault::NotFinite));
        }
        self.inner.serialize_f64(value)
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<S::Ok, S::Error> {
        self.at.text::<S::Error>(value)?;
        if value.len() >= SCANNED
            && self.at.check.text
            && self.at.part == Part::Value
            && has_no_escapes(value)
        {
            return write_parts(self.inner, &["\"", value, "\""]);
        }
        self.inner.serialize_str(value)
    }

    #[inline]
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        if self.at.part == Part::Value {
            return self.inner.collect_str(value);
        }
        self.serialize_str(&value.to_string())
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.at.null();
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let at = At { some: self.at.some + 1, ..self.at };
        self.inner.serialize_some(&Checked { value, at })
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.at.null();
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.at.null();
        self.inner.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        if name == SHARED && self.at.check.text {
            return self.shared(value);
        }
        self.inner.serialize_newtype_struct(name, &Checked { value, at: self.at })
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let path = Path::Field(self.at.path, variant);
        let at = At { path: &path, ..self.at.inside::<S::Error>(1)? };
        self.inner.serialize_newtype_variant(name, index, variant, &Checked { value, at })
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let at = self.at.inside::<S::Error>(1)?;
        Ok(Compound::new(self.inner.serialize_seq(len)?, at))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let at = self.at.inside::<S::Error>(1)?;
        Ok(Compound::new(self.inner.serialize_tuple(len)?, at))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let at = self.at.inside::<S::Error>(1)?;
        Ok(Compound::new(self.inner.serialize_tuple_struct(name, len)?, at))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let at = self.at.inside::<S::Error>(2)?;
        let inner = self.inner.serialize_tuple_variant(name, index, variant, len)?;
        Ok(Compound { variant: Some(variant), ..Compound::new(inner, at) })
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let at = self.at.inside::<S::Error>(1)?;
        Ok(Compound::new(self.inner.serialize_map(len)?, at))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        if name == RAW {
            let at = At { part: Part::Raw, some: 0, ..self.at };
            return Ok(Compound::new(self.inner.serialize_struct(name, len)?, at));
        }
        let at = self.at.inside::<S::Error>(1)?;
        Ok(Compound::new(self.inner.serialize_struct(name, len)?, at))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let at = self.at.inside::<S::Error>(2)?;
        let inner = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(Compound { variant: Some(variant), ..Compound::new(inner, at) })
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of an array or object.
struct Compound<'a, C> {
    inner: C,
    at: At<'a>,
    variant: Option<&'static str>,
    index: usize,
    /// The last key that was written apart from its value.
    key: Option<String>,
}

impl<'a, C> Compound<'a, C> {
    #[inline]
    const fn new(inner: C, at: At<'a>) -> Self {
        Self { inner, at, variant: None, index: 0, key: None }
    }

    /// Calls `write` with the place of a part.
    #[inline]
    fn part<R>(&mut self, step: impl FnOnce(&Path<'_>, &mut C, At<'_>) -> R) -> R {
        match self.variant {
            None => step(self.at.path, &mut self.inner, self.at),
            Some(variant) => step(&Path::Field(self.at.path, variant), &mut self.inner, self.at),
        }
    }

    #[inline]
    fn item<T: ?Sized, R>(&mut self, value: &T, write: impl FnOnce(&mut C, &Checked<'_, T>) -> R) -> R {
        let index = self.index;
        self.index += 1;
        self.part(|up, inner, at| {
            let path = Path::Index(up, index);
            write(inner, &Checked { value, at: At { path: &path, ..at } })
        })
    }

    #[inline]
    fn field<T: ?Sized, R>(
        &mut self,
        name: &str,
        value: &T,
        write: impl FnOnce(&mut C, &Checked<'_, T>) -> R,
    ) -> R {
        self.part(|up, inner, at| {
            if at.part == Part::Raw {
                return write(inner, &Checked { value, at });
            }
            let path = Path::Field(up, name);
            write(inner, &Checked { value, at: At { path: &path, ..at } })
        })
    }
}

macro_rules! items {
    ($($of:ident . $method:ident),*) => {$(
        impl<C: $of> $of for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.item(value, |inner, value| inner.$method(value))
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}
items! {
    SerializeSeq.serialize_element, SerializeTuple.serialize_element, SerializeTupleStruct.serialize_field,
    SerializeTupleVariant.serialize_field
}

macro_rules! fields {
    ($($of:ident),*) => {$(
        impl<C: $of> $of for Compound<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), C::Error> {
                self.field(name, value, |inner, value| inner.serialize_field(name, value))
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}
fields!(SerializeStruct, SerializeStructVariant);

impl<C: SerializeMap> SerializeMap for Compound<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.key = Some(key_text(key));
        self.inner.serialize_key(&Checked { value: key, at: At { part: Part::Key, ..self.at } })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        let key = self.key.take().unwrap_or_default();
        self.field(&key, value, |inner, value| inner.serialize_value(value))
    }

    #[inline]
    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), C::Error> {
        let text = || key_text(key);
        let path = Path::Key(self.at.path, &text);
        let name = Checked { value: key, at: At { part: Part::Key, ..self.at } };
        self.inner.serialize_entry(&name, &Checked { value, at: At { path: &path, ..self.at } })
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}
