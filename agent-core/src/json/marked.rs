//! Deserializer that knows which `null`s mean a `Some`: a layer over serde_json's, only for values that have any.

use std::{cell::RefCell, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    de::{
        self, Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny,
        MapAccess, SeqAccess, VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};

/// Marks below a place, by the next step of their pointers.
#[derive(Default)]
struct Node {
    some: u32,
    below: BTreeMap<String, Node>,
}

static NONE: Node = Node { some: 0, below: BTreeMap::new() };

/// Reads a text in which the `null`s at these places mean this number of nested `Some`s.
pub(super) fn read<T: DeserializeOwned>(text: &str, marks: &[(String, u32)]) -> serde_json::Result<T> {
    let mut root = Node::default();
    for (pointer, some) in marks {
        let mut node = &mut root;
        for step in pointer.split('/').skip(1) {
            node = node.below.entry(step.replace("~1", "/").replace("~0", "~")).or_default();
        }
        node.some = *some;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if super::depth(text.as_bytes()) <= super::READ_DEPTH {
        deserializer.disable_recursion_limit();
    }
    let at = At { node: &root, name: None };
    let value = T::deserialize(Layer { inner: &mut deserializer, at })?;
    deserializer.end()?;
    Ok(value)
}

/// A place, and where to note the name that is read (of a field or variant).
#[derive(Clone, Copy)]
struct At<'m> {
    node: &'m Node,
    name: Option<&'m RefCell<String>>,
}

impl<'m> At<'m> {
    const fn name(name: &'m RefCell<String>) -> Self {
        Self { node: &NONE, name: Some(name) }
    }

    fn below(&self, step: &str) -> Self {
        Self { node: self.node.below.get(step).unwrap_or(&NONE), name: None }
    }

    fn note(&self, text: &dyn fmt::Display) {
        if let Some(name) = self.name {
            name.replace(text.to_string());
        }
    }
}

/// A deserializer, a seed, a visitor or an access at a place.
struct Layer<'m, T> {
    inner: T,
    at: At<'m>,
}

macro_rules! typed {
    ($($method:ident($($argument:ident: $ty:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $ty,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* Layer { inner: visitor, at: self.at })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Layer<'_, D> {
    type Error = D::Error;

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if self.at.node.some > 0 {
            IgnoredAny::deserialize(self.inner)?;
            return visitor.visit_some(Null::new(self.at.node.some - 1));
        }
        self.inner.deserialize_option(Layer { inner: visitor, at: self.at })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if self.at.node.some > 0 {
            // What is buffered (untagged, flattened) keeps a `Some`.
            IgnoredAny::deserialize(self.inner)?;
            return visitor.visit_some(Null::new(self.at.node.some - 1));
        }
        self.inner.deserialize_any(Layer { inner: visitor, at: self.at })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_newtype_struct(name, Layer { inner: visitor, at: self.at })
    }

    typed! {
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Layer<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Layer { inner: deserializer, at: self.at })
    }
}

macro_rules! plain {
    ($($method:ident: $ty:ty),*) => {$(
        fn $method<E: de::Error>(self, value: $ty) -> Result<V::Value, E> {
            self.at.note(&value);
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Layer<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    plain! {
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128, visit_f32: f32,
        visit_f64: f64, visit_char: char, visit_str: &str, visit_borrowed_str: &'de str, visit_string: String
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<V::Value, E> {
        self.inner.visit_bytes(value)
    }

    fn visit_borrowed_bytes<E: de::Error>(self, value: &'de [u8]) -> Result<V::Value, E> {
        self.inner.visit_borrowed_bytes(value)
    }

    fn visit_byte_buf<E: de::Error>(self, value: Vec<u8>) -> Result<V::Value, E> {
        self.inner.visit_byte_buf(value)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Layer { inner: deserializer, at: self.at })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Layer { inner: deserializer, at: self.at })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Items { inner: access, at: self.at, index: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Entries { inner: access, at: self.at, key: RefCell::default() })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Layer { inner: access, at: self.at })
    }
}

struct Items<'m, A> {
    inner: A,
    at: At<'m>,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let at = self.at.below(&self.index.to_string());
        self.index += 1;
        self.inner.next_element_seed(Layer { inner: seed, at })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct Entries<'m, A> {
    inner: A,
    at: At<'m>,
    key: RefCell<String>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(Layer { inner: seed, at: At::name(&self.key) })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let at = self.at.below(&self.key.borrow());
        self.inner.next_value_seed(Layer { inner: seed, at })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'm, A: EnumAccess<'de>> EnumAccess<'de> for Layer<'m, A> {
    type Error = A::Error;
    type Variant = Layer<'m, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let name = RefCell::default();
        let (value, inner) = self.inner.variant_seed(Layer { inner: seed, at: At::name(&name) })?;
        let at = self.at.below(&name.borrow());
        Ok((value, Layer { inner, at }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Layer<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Layer { inner: seed, at: self.at })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Layer { inner: visitor, at: self.at })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Layer { inner: visitor, at: self.at })
    }
}

/// A `null` inside this number of further `Some`s.
struct Null<E> {
    some: u32,
    error: PhantomData<E>,
}

impl<E> Null<E> {
    const fn new(some: u32) -> Self {
        Self { some, error: PhantomData }
    }
}

impl<'de, E: de::Error> Deserializer<'de> for Null<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.some {
            0 => visitor.visit_unit(),
            some => visitor.visit_some(Self::new(some - 1)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.some {
            0 => visitor.visit_none(),
            some => visitor.visit_some(Self::new(some - 1)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}
